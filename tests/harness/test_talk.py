"""A bot must not say the same twice about one question, nor go on for ever; and nothing else is too much."""

from __future__ import annotations

import pytest

from greenroom.people.person import edit_content, reaction_content, reply_content
from greenroom.people.seen import SeenEvent
from greenroom.people.talk import MANY, too_much

ROOM, BOT, ALICE, CAROL = "!room", "@bot:hs1", "@alice:hs1", "@carol:hs1"


def timeline(*said: tuple[str, str] | SeenEvent) -> list[SeenEvent]:
    """Return a timeline of (sender, text), with ids `$0`, `$1` and so on."""
    events = []
    for number, one in enumerate(said):
        if not isinstance(one, SeenEvent):
            sender, text = one
            one = event(sender, f"${number}", msgtype="m.text", body=text)
        events.append(one)
    return events


def event(sender: str, event_id: str, kind: str = "m.room.message", room: str = ROOM, **content) -> SeenEvent:
    """Return an event."""
    return SeenEvent(room, event_id, kind, sender, content, None, encrypted=False)


def judged(events: list[SeenEvent], question: str, *, goes_on: bool = False) -> str | None:
    """Return what the bot said too much."""
    much = too_much(events, sender=BOT, question=question, shown="ping", room=ROOM, goes_on=goes_on)
    return much and much.what


Q, PONG = (ALICE, "ping"), (BOT, "pong")
IMAGE = {"msgtype": "m.image", "body": "image.png"}


@pytest.mark.parametrize(
    ("events", "question"),
    [
        (timeline(Q, PONG), "$0"),
        (timeline(Q, PONG, (BOT, "and more")), "$0"),
        (timeline(Q, PONG, Q, PONG), "$2"),
        (timeline(Q, Q, PONG, PONG), "$1"),
        (timeline(Q, Q, Q, PONG, Q, PONG, PONG, PONG), "$4"),
        (timeline(Q, (CAROL, "ping"), PONG, PONG), "$0"),
        (timeline(Q, PONG, event(BOT, "$9", room="!other", msgtype="m.text", body="pong")), "$0"),
        (timeline(Q, (BOT, "…"), event(BOT, "$8", **edit_content("$1", "a")), (BOT, "a b")), "$0"),
        (timeline(Q, event(BOT, "$8", **IMAGE), event(BOT, "$9", **IMAGE)), "$0"),
        (timeline(Q, *(event(BOT, f"$r{n}", "m.reaction", **reaction_content("$0", "👍")) for n in range(2))), "$0"),
        (timeline(Q, *((BOT, f"line {number}") for number in range(2 * MANY))), "$0"),
    ],
    ids=[
        "one",
        "two different",
        "two questions",
        "two asked before",
        "many asked before",
        "two people",
        "elsewhere",
        "edits",
        "images",
        "reactions",
        "a long answer",
    ],
)
def test_what_is_not_too_much(events, question):
    """Each message of a person may have its answer, however late, and an answer may have many different messages."""
    assert judged(events, question) is None


@pytest.mark.parametrize(
    ("events", "question", "what"),
    [
        (timeline(Q, PONG, PONG), "$0", "answered 'ping' twice with 'pong'"),
        (timeline((BOT, "Hello!"), Q, PONG, PONG, PONG), "$1", "answered 'ping' 3 times with 'pong'"),
        (timeline(Q, PONG, Q, PONG, PONG), "$2", "answered 'ping' twice with 'pong'"),
        (
            timeline(
                (ALICE, "what the bot never answers"),
                Q,
                event(BOT, "$8", **reply_content("$1", "pong")),
                event(BOT, "$9", **reply_content("$1", "pong")),
            ),
            "$1",
            "answered 'ping' twice with 'pong'",
        ),
    ],
    ids=["twice", "three times", "the second question", "by replies"],
)
def test_the_same_answer_again_is_too_much(events, question, what):
    """More equal messages than messages of people to answer, or two replies to one question."""
    assert judged(events, question) == what


def test_a_bot_that_goes_on_is_told_with_its_latest_words():
    """Many messages are too much only if the requests show that the bot answers itself."""
    events = timeline(Q, *((BOT, f"you said {number}") for number in range(MANY + 2)))

    assert judged(events, "$0", goes_on=True) == "goes on talking: 12 messages since 'ping', the latest 'you said 11'"
    assert judged(events[: MANY + 2], "$0", goes_on=True) is None
    assert judged(events, "$0") is None
