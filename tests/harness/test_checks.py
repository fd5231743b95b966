"""A check returns a result if it holds, and otherwise what the person has seen instead."""

from __future__ import annotations

import pytest

from greenroom import checks
from greenroom.people.person import edit_content, reaction_content, reply_content
from greenroom.people.seen import Seen, SeenEvent
from greenroom.waiting import NotYet

ROOM, ALICE, CAROL = "!room", "@alice:greenroom.test", "@carol:greenroom.test"


def event(event_id: str, sender: str = ALICE, kind: str = "m.room.message", **content) -> SeenEvent:
    """Return a timeline event."""
    if kind == "m.room.message":
        content = {"msgtype": "m.text", **content}
    return SeenEvent(ROOM, event_id, kind, sender, content, None, encrypted=False)


@pytest.fixture
def seen() -> Seen:
    """Alice sent `one` and `two`. Carol replied to `one`, reacted to `two` and redacted it. Alice edited `one`."""
    seen = Seen(ALICE, joined={ROOM}, invited={"!other": CAROL}, invite_names={"!other": "Tea"})
    seen.timeline = [
        event("$1", body="one"),
        event("$2", body="two"),
        event("$3", CAROL, **reply_content("$1", "yes")),
        event("$4", CAROL, "m.reaction", **reaction_content("$2", "👍")),
        event("$5", **edit_content("$1", "uno")),
        event("$6", CAROL, "m.room.redaction", redacts="$2"),
    ]
    seen.state = {
        ROOM: {
            ("m.room.name", ""): {"content": {"name": "Old"}},
            ("m.room.member", CAROL): {"content": {"membership": "leave"}},
            ("m.space.child", "!gone"): {"content": {}},
        }
    }
    return seen


@pytest.mark.parametrize(
    ("check", "found"),
    [
        (checks.message("one", sender=ALICE, room=ROOM), "$1"),
        (checks.message(after="$1", room=ROOM), "$2"),
        (checks.message(containing="e"), "$1"),
        (checks.reply_to("$1", sender=CAROL, text="yes"), "$3"),
        (checks.reaction("$2", "👍"), "$4"),
        (checks.edit_of("$1", text="uno"), "$5"),
        (checks.redaction("$2", sender=CAROL), "$6"),
    ],
)
def test_a_matching_event_is_returned(seen, check, found):
    """A check finds an event by its relation, its sender and its text."""
    assert check(seen).event_id == found


@pytest.mark.parametrize(
    ("check", "what", "reason"),
    [
        (
            checks.message("pong", sender=CAROL, room=ROOM),
            f"{CAROL} to say 'pong' in {ROOM}",
            f"messages there: {ALICE}: 'one'; {ALICE}: 'two'; {CAROL}: 'yes'; {ALICE}: '* uno'",
        ),
        (checks.message("one", room="!other"), "somebody to say 'one' in !other", "no message there"),
        (
            checks.messages("one", sender=ALICE, room=ROOM),
            f"{ALICE} to have said exactly ['one'] in {ROOM}",
            f"{ALICE} said ['one', 'two']",
        ),
        (
            checks.reply_to("$1", sender=CAROL, text="no"),
            f"{CAROL} to reply to $1 with 'no'",
            f"only {CAROL}: 'yes'",
        ),
        (checks.reply_to("$2"), "somebody to reply to $2", "nothing of that kind there"),
        (checks.edit_of("$1", text="eins"), "somebody to edit $1 to 'eins'", f"only {ALICE}: 'uno'"),
        (checks.reaction("$2", "👎"), "somebody to react with 👎 to $2", f"only {CAROL}: '👍'"),
        (checks.redaction("$1"), "somebody to redact $1", "nothing of that kind there"),
        (checks.invited(by=ALICE), f"an invite from {ALICE}", f"open invites: {{'!other': '{CAROL}'}}"),
        (
            checks.invited(name="Cake"),
            "an invite to a room named 'Cake'",
            f"open invites: {{'!other': '{CAROL}'}}; their rooms: ['Tea']",
        ),
        (checks.joined(CAROL, ROOM), f"{CAROL} to have membership join in {ROOM}", f"membership of {CAROL} is leave"),
        (checks.named(ROOM, "New"), f"{ROOM} to be named 'New'", "its name is 'Old'"),
        (checks.upgraded(ROOM), f"{ROOM} to be upgraded", "it has no tombstone"),
        (checks.child(ROOM, "!gone"), f"Space {ROOM} to list !gone", "its entry there is {}"),
        (
            checks.state("m.room.topic", bool, room=ROOM),
            f"state m.room.topic in {ROOM} as wanted",
            f"{ROOM}: None",
        ),
    ],
)
def test_a_check_that_does_not_hold_says_what_was_seen_instead(seen, check, what, reason):
    """A check that does not hold names what was awaited and what the person has seen."""
    assert check.what == what
    assert check(seen) == NotYet(reason)


BOT = "@bot:greenroom.test"


@pytest.fixture
def answered(seen) -> Seen:
    """The bot edited an old message, and answered `$q` with a placeholder that became `hello there`, and with 👍."""
    seen.timeline += [
        event("$old", BOT, body="status: idle"),
        event("$q", body="!ping"),
        event("$ack", BOT, "m.reaction", **reaction_content("$q", "👍")),
        event("$late", BOT, **edit_content("$old", "status: busy")),
        event("$a", BOT, body="thinking…"),
        event("$b", BOT, **edit_content("$a", "hello")),
        event("$c", BOT, **edit_content("$a", "hello there")),
    ]
    return seen


@pytest.mark.parametrize(
    ("choice", "found", "kind"),
    [
        ({}, "$a", "edit"),
        ({"text": "hello there"}, "$a", "edit"),
        ({"containing": "there", "room": ROOM}, "$a", "edit"),
        ({"text": "👍"}, "$ack", "reaction"),
    ],
)
def test_an_answer_is_found_by_what_a_reader_sees_now(answered, choice, found, kind):
    """By the text after the last edit or the emoji of a reaction. Without a choice a message goes before a reaction."""
    answer = checks.answer(**choice, sender=BOT, after="$q")(answered)

    assert (answer.event_id, answer.kind) == (found, kind)


def test_without_the_answer_everything_else_of_the_bot_is_named(answered):
    """The edits, the reaction, an edit of an older message, another room, and what this person cannot read."""
    answered.timeline += [
        SeenEvent("!other", "$e", "m.room.message", BOT, {"body": "hello"}, None, encrypted=False),
        event("$f", BOT, "m.room.encrypted", algorithm="m.megolm.v1.aes-sha2"),
    ]
    check = checks.answer("hello", sender=BOT, room=ROOM, after="$q")

    assert check.what == f"{BOT} to say 'hello' in {ROOM}"
    assert check(answered).reason.removeprefix("messages there: ").split("; ") == [
        f"{BOT}: 'thinking…', edited 2 times, at last to 'hello there'",
        f"{BOT}: in another room !other: 'hello'",
        f"{BOT}: an older message edited to 'status: busy'",
        f"{BOT}: an encrypted message that {ALICE} cannot read",
    ]
    assert checks.answer("hello", sender=BOT, after="$q")(answered).event_id == "$e"
    assert checks.answer(sender="@nobody:hs1", after="$q")(answered) == NotYet("no message there")


def test_all_of_returns_all_results_or_names_what_is_missing(seen):
    """`a & b` returns both results, or names only the checks that do not hold."""
    one, two = checks.message("one"), checks.message("two")
    missing = checks.named(ROOM, "New")

    assert [e.event_id for e in (one & two)(seen)] == ["$1", "$2"]
    assert (one & missing).what == f"somebody to say 'one' and {ROOM} to be named 'New'"
    assert (one & missing)(seen) == NotYet(f"{ROOM} to be named 'New': its name is 'Old'")


def test_any_of_returns_the_first_result_or_names_all_checks(seen):
    """`a | b` returns the first result, or names all checks if none holds."""
    missing, other = checks.named(ROOM, "New"), checks.upgraded(ROOM)

    assert (missing | checks.message("one"))(seen).event_id == "$1"
    assert (missing | other)(seen) == NotYet(
        f"{ROOM} to be named 'New': its name is 'Old' AND {ROOM} to be upgraded: it has no tombstone"
    )
