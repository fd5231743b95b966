"""A homeserver that could not reach an application service tries again later, and sends then what it has kept."""

from __future__ import annotations

import pytest

from greenroom.faults import Entry
from greenroom.faults.recovery import JUST_S, SETTLES_S, until_just_tried, until_settled

NOW = 100.0


def sent(at: float, status: int | None = 200, lasts_s: float | None = 0.1) -> Entry:
    """Return a transaction that the homeserver began to send at `at`; without `lasts_s` it is open."""
    return Entry(at, "PUT", "/transactions/1", "", None, status=status, duration_s=lasts_s, to="@bot:hs1")


JUST_REFUSED = sent(NOW - JUST_S + 0.01, None, 0.0)
JUST_TAKEN = sent(NOW - SETTLES_S + 0.01, 200, 0.0)


@pytest.mark.parametrize(
    ("transactions", "missing"),
    [
        ([], None),
        ([sent(10, None), sent(12)], None),
        ([JUST_REFUSED], None),
        ([sent(10, 502), JUST_REFUSED], None),
        ([sent(NOW - JUST_S - 0.2, 502)], "the homeserver has not tried again yet"),
        ([sent(10, 502), sent(99.9, None, None)], "the homeserver has not tried again yet"),
    ],
)
def test_a_service_starts_when_its_homeserver_has_just_tried_in_vain(transactions, missing):
    """Or when the homeserver keeps nothing back."""
    assert until_just_tried(transactions, NOW) == missing


@pytest.mark.parametrize(
    ("transactions", "missing"),
    [
        ([], None),
        ([JUST_TAKEN], None),
        ([sent(10), sent(99.9, None, None)], None),
        ([JUST_REFUSED], None),
        ([sent(10, 502), sent(12)], None),
        ([sent(10, 502), JUST_TAKEN], "the homeserver is catching up"),
        ([sent(10, 502), sent(12), sent(99.9, None, None)], "the homeserver is catching up"),
    ],
)
def test_a_homeserver_catches_up_until_it_has_sent_nothing_for_a_moment(transactions, missing):
    """Only after a transaction that failed: otherwise it keeps nothing."""
    assert until_settled(transactions, NOW) == missing
