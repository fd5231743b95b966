"""A bot is at rest when it has received its own latest message and then synced again."""

from __future__ import annotations

import pytest

from greenroom.faults import Entry
from greenroom.faults.rest import GRACE_S, answers_itself, is_deaf, unrest

NOW = 100.0


def sync(at: float, lasts_s: float | None = 0.1, *brought: str, rule: str | None = None) -> Entry:
    """Return a sync that began at `at`; without `lasts_s` it is open."""
    status = None if lasts_s is None else 200
    return Entry(at, "GET", "/v3/sync", "", "@bot:hs1", status=status, duration_s=lasts_s, brought=brought, rule=rule)


def send(at: float, made: str = "$1", *, status: int | None = 200, lasts_s: float | None = 0.1) -> Entry:
    """Return the send of a message."""
    path = "/v3/rooms/!r/send/m.room.message/t1"
    return Entry(at, "PUT", path, "", "@bot:hs1", status=status, duration_s=lasts_s, made=made)


TYPING = Entry(99.99, "PUT", "/v3/rooms/!r/typing/@bot:hs1", "", "@bot:hs1", status=200, duration_s=0.001)


@pytest.mark.parametrize(
    ("requests", "missing"),
    [
        ([], None),
        ([send(90), sync(90.2, 0.1, "$1"), sync(91, None)], None),
        ([send(90), sync(90.2, 0.1, "$1"), sync(91, None), TYPING], None),
        ([sync(89, 1.5, "$1"), send(90), sync(91, None)], None),
        ([send(90, "$0"), sync(90.2, 0.1, "$0"), send(90.4), sync(90.6, 0.1, "$1"), sync(91, None)], None),
        ([send(90), sync(90.2, 0.1, "$1"), sync(91, None), send(99, "", status=403)], None),
        ([send(90, lasts_s=None, made="", status=None)], "it is sending"),
        ([send(90), sync(90.2, None)], "it has not received its own latest message"),
        ([send(90), sync(90.2, 0.1, "$1")], "it is busy with its own latest message"),
        ([send(90), sync(90.2, 0.1, "$1"), sync(90.25, None)], "it is busy with its own latest message"),
        ([send(90), sync(90.2, 0.1, "$1"), sync(NOW - GRACE_S / 2, None)], "it rests only for a moment"),
        ([send(8, "$0"), sync(9, 0.1, "$0"), send(90), sync(91, None)], "it has not received its own latest message"),
        ([send(90, "", status=429)], "its latest message was not accepted, so it may try again"),
        ([send(90, "", status=502)], "its latest message was not accepted, so it may try again"),
        ([send(90, "", status=None)], "its latest message was not accepted, so it may try again"),
    ],
)  # fmt: skip
def test_what_is_missing_until_a_bot_rests(requests, missing):
    """The requests tell why a bot may still send something."""
    assert unrest(requests, NOW) == missing


def test_of_a_bot_that_does_not_hear_itself_only_the_quiet_counts():
    """A filter keeps its own messages from it, so it cannot answer them."""
    assert unrest([send(90), sync(90.2, None)], NOW, hears_itself=False) is None
    assert unrest([send(99.95, lasts_s=0.01)], NOW, hears_itself=False) == "it rests only for a moment"


def test_a_bot_answers_itself_if_each_message_follows_the_one_before():
    """Each of its messages was sent after a sync had brought the one before. A long answer is sent without that."""
    rounds = [e for n in range(4) for e in (send(n, f"${n}"), sync(n + 0.2, 0.1, f"${n}"))]
    long_answer = [send(n, f"${n}") for n in range(4)]

    assert answers_itself(rounds, 3)
    assert not answers_itself(rounds, 4)  # there are only three pairs
    assert not answers_itself(long_answer, 3)
    assert not answers_itself([*long_answer, sync(9, 0.1, "$0", "$1", "$2", "$3")], 3)


def test_what_a_bot_is_told_twice_and_sends_again_are_no_rounds_of_their_own():
    """Some homeservers tell an event twice. A bot may send its answer again, with the same transaction id."""
    rounds = [e for n in range(4) for e in (send(n, f"${n}"), send(n + 0.3, f"${n}"), sync(n + 0.5, 0.1, f"${n}"))]

    assert answers_itself([*rounds, sync(9, 0.1, "$0", "$1", "$2", "$3")], 3)


@pytest.mark.parametrize(
    ("requests", "deaf"),
    [
        ([send(90), sync(90.2, None)], True),
        ([send(90), sync(90.2, 0.1), sync(91, None)], True),
        ([send(90), sync(90.2, 0.1, "$1"), sync(91, None)], False),
        ([send(90), sync(90.2, 0.1)], False),
        ([send(90), sync(90.2, None, rule="response held")], False),
        ([send(90)], False),
        ([sync(90, None)], False),
    ],
    ids=["open", "open later", "heard", "no open sync", "held by a fault", "no sync", "nothing sent"],
)
def test_a_bot_is_deaf_to_itself_if_an_open_sync_does_not_bring_its_message(requests, deaf):
    """Only an open sync that no fault holds proves a filter."""
    assert is_deaf(requests) is deaf
