"""What the stage shows of a room, and of the rooms of a person."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from greenroom.people.person import edit_content, reaction_content, reply_content
from greenroom.people.seen import Seen, SeenEvent
from greenroom.stage.being.rooms import open_invites, room_name, room_tree
from greenroom.stage.being.shown import Quote, Reaction, timeline

ROOM, SERVER = "!room", "greenroom.test"
ALICE, BOT, ZED = "@alice:greenroom.test", "@bot:greenroom.test", "@zed:elsewhere.test"
TEXT = {"msgtype": "m.text"}


class Told:
    """What alice was told, event by event."""

    def __init__(self) -> None:
        self.seen = Seen(ALICE, joined={ROOM})
        self._ids = (f"${number}" for number in itertools.count(1))

    def __call__(self, sender: str, content: dict[str, Any], kind: str = "m.room.message", **more: Any) -> str:
        event_id = next(self._ids)
        event = SeenEvent(
            ROOM, event_id, kind, sender, content, more.pop("state_key", None), more.pop("encrypted", False)
        )
        self.seen.timeline.append(event)
        return event_id

    def member(self, sender: str, whom: str, membership: str) -> None:
        self(sender, {"membership": membership}, "m.room.member", state_key=whom)

    def lines(self) -> list[tuple[str, str]]:
        return [(line.sender, line.says) for line in timeline(self.seen, ROOM, SERVER)]


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_message_is_shown_as_its_last_edit_says_and_marked(told):
    """The edit itself is no line. Nobody can edit what somebody else said."""
    first = told(BOT, {**TEXT, "body": "thinking…"})
    told(BOT, edit_content(first, "forty-two"))
    told(ALICE, edit_content(first, "forty-three"))

    (line,) = timeline(told.seen, ROOM, SERVER)

    assert (line.says, line.edited, line.own) == ("forty-two", True, False)


def test_a_reply_has_the_line_that_it_is_about_as_that_reads_now(told):
    """Of an event that this person has not seen, nothing can be quoted."""
    first = told(ALICE, {**TEXT, "body": "one\ntwo"})
    told(ALICE, edit_content(first, "uno\ndos"))
    told(BOT, reply_content(first, "yes"))
    told(ZED, reply_content("$unknown", "no"))

    quotes = [line.quote for line in timeline(told.seen, ROOM, SERVER)]

    assert quotes == [None, Quote("alice", "uno"), Quote("", "an earlier message")]


def test_reactions_are_counted_without_those_taken_back(told):
    """One emoji is one chip, with who sent it."""
    first = told(BOT, {**TEXT, "body": "hello"})
    for sender in (ALICE, ZED):
        told(sender, reaction_content(first, "👍"), "m.reaction")
    taken_back = told(ALICE, reaction_content(first, "😂"), "m.reaction")
    told(ALICE, {"redacts": taken_back}, "m.room.redaction")

    (line,) = timeline(told.seen, ROOM, SERVER)

    assert line.reactions == (Reaction("👍", 2, ("alice", ZED)),)


def test_a_removed_message_shows_nothing_of_itself(told):
    """Removed while this person looked, or before."""
    first = told(BOT, {**TEXT, "body": "secret"})
    told(BOT, {"redacts": first}, "m.room.redaction")
    told(BOT, {})

    lines = timeline(told.seen, ROOM, SERVER)

    assert [(line.says, line.redacted) for line in lines] == [("removed", True)] * 2


def test_encryption_is_said_in_words(told):
    """Read, not readable, and plain text in a room that is encrypted."""
    told(BOT, {**TEXT, "body": "hush"}, encrypted=True)
    told(BOT, {"ciphertext": "…"}, "m.room.encrypted")
    told.seen.timeline.append(SeenEvent(ROOM, "$p", "m.room.message", BOT, {**TEXT, "body": "oh"}, None, False, True))
    told(BOT, {**TEXT, "body": "plain"})

    marks = [line.encryption for line in timeline(told.seen, ROOM, SERVER)]

    assert marks == ["encrypted", "could not be decrypted", "not encrypted", ""]


def test_changes_of_the_room_are_shown_in_short(told):
    """What a membership means depends on the one before and on who wrote it."""
    told.member(ALICE, BOT, "invite")
    told.member(BOT, BOT, "join")
    told.member(BOT, BOT, "join")
    told.member(ALICE, BOT, "leave")
    told.member(ALICE, ZED, "invite")
    told.member(ZED, ZED, "leave")
    told(ALICE, {"name": "Tea"}, "m.room.name", state_key="")
    told(ALICE, {"replacement_room": "!new"}, "m.room.tombstone", state_key="")
    told(ALICE, {}, "m.room.power_levels", state_key="")

    assert told.lines() == [
        ("alice", "invited bot"),
        ("bot", "joined"),
        ("bot", "changed their profile"),
        ("alice", "kicked bot"),
        ("alice", f"invited {ZED}"),
        (ZED, "declined the invite"),
        ("alice", "named it “Tea”"),
        ("alice", "upgraded it to another room: !new"),
    ]


def test_only_the_latest_lines_are_shown(told):
    """A page does not build thousands of lines."""
    for number in range(5):
        told(BOT, {**TEXT, "body": str(number)})

    assert [line.says for line in timeline(told.seen, ROOM, SERVER, limit=2)] == ["3", "4"]


# -- rooms


def house() -> Seen:
    """A Space with a chat and itself, two Spaces that list each other, a room without a name, one that was left."""
    seen = Seen(ALICE, joined={"!space", "!chat", "!one", "!two", "!direct"}, left={"!left"})
    seen.invited, seen.invite_names = {"!tea": BOT}, {"!tea": "Tea"}
    named = {"!space": "Chats", "!chat": "First", "!one": "One", "!two": "Two", "!left": "Old"}
    seen.state = {room: {("m.room.name", ""): {"content": {"name": name}}} for room, name in named.items()}
    seen.state["!direct"] = {
        ("m.room.member", ALICE): {"content": {"membership": "join"}},
        ("m.room.member", BOT): {"content": {"membership": "invite"}},
        ("m.room.encryption", ""): {"content": {}},
    }
    for space, children in {"!space": ("!chat", "!space"), "!one": ("!two",), "!two": ("!one",)}.items():
        seen.state[space]["m.room.create", ""] = {"content": {"type": "m.space"}}
        for child in children:
            seen.state[space]["m.space.child", child] = {"content": {"via": [SERVER]}}
    seen.state["!chat"]["m.room.tombstone", ""] = {"content": {"replacement_room": "!new"}}
    return seen


def test_rooms_are_a_tree_and_no_circle_hides_one():
    """A Space lists what is in it; what was left comes last."""
    lines = [(line.name, line.depth, line.marks) for line in room_tree(house(), SERVER)]

    assert lines == [
        ("Chats", 0, ("Space",)),
        ("First", 1, ("replaced",)),
        ("chat with bot", 0, ("encrypted",)),
        ("One", 0, ("Space",)),
        ("Two", 0, ("Space",)),
        ("Old", 0, ("left",)),
    ]


def test_an_invite_says_whose_it_is_and_to_what():
    """The room is not joined yet, so the invite itself must tell."""
    (invite,) = open_invites(house(), SERVER)

    assert (invite.name, invite.by) == ("Tea", "bot")


def test_a_room_with_nobody_else_and_no_name_has_words_for_it():
    """An empty line in the list could not be chosen."""
    assert room_name(Seen(ALICE, joined={ROOM}), ROOM, SERVER) == "a room without a name"
