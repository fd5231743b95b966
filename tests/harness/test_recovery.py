"""A homeserver that could not reach an application service tries again later, and sends then what it has kept."""

from __future__ import annotations

import pytest

from greenroom.faults import Entry
from greenroom.faults.recovery import SETTLES_S, STARTS_S, keeps_back, until_settled, until_started

NOW = 100.0


def sent(at: float, status: int | None = 200, lasts_s: float | None = 0.1) -> Entry:
    """Return a transaction that the homeserver began to send at `at`; without `lasts_s` it is open."""
    return Entry(at, "PUT", "/transactions/1", "", None, status=status, duration_s=lasts_s, to="@bot:hs1")


JUST_REFUSED = sent(NOW - 0.1, None, 0.0)
JUST_TAKEN = sent(NOW - SETTLES_S + 0.01, 200, 0.0)


@pytest.mark.parametrize(
    ("transactions", "keeps"),
    [
        ([], False),
        ([sent(10, None), sent(12)], False),
        ([sent(10), JUST_REFUSED], True),
        ([sent(10), sent(12, 502)], True),
        ([sent(10), sent(99.9, None, None)], True),
    ],
)
def test_a_homeserver_keeps_events_back_after_a_transaction_that_was_not_taken(transactions, keeps):
    """An open one may fail yet."""
    assert keeps_back(transactions) == keeps


@pytest.mark.parametrize(
    ("requests", "began", "missing"),
    [
        ([], NOW - STARTS_S, None),
        ([], NOW - STARTS_S + 0.1, "it rests only for a moment"),
        ([sent(NOW - STARTS_S - 0.2)], NOW - 10, None),
        ([sent(NOW - STARTS_S)], NOW - 10, "it rests only for a moment"),
        ([sent(NOW - 5, None, None), sent(NOW - 4)], NOW - 10, "a request is open"),
    ],
)
def test_a_service_has_started_when_it_has_asked_for_nothing_for_a_moment(requests, began, missing):
    """It may listen long before."""
    assert until_started(requests, NOW, began) == missing


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
