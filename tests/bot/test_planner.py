"""What the planner says of the server as a whole, and of one room that is looked at alone."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from greenroom_bot.matrix.ids import ChatId, RoomId
from greenroom_bot.rooms.planner import CONFLICTS, RULES, plan
from greenroom_bot.rooms.view import ServerView, room_view
from tests.bot.decides import decides
from tests.bot.factory import (
    ALICE,
    CAROL,
    CHAT,
    CHAT_ROW,
    INSTANCE,
    ME,
    OTHER_CHAT,
    SPACE,
    SPACE_ROW,
    Room,
    alices_chat,
    alices_space,
    in_step,
)


def test_every_rule_and_every_conflict_has_a_test():
    """Each outcome and each kind of conflict has a test that is marked with `decides`."""
    marked = "".join(file.read_text() for file in Path(__file__).parent.glob("test_planner*.py"))

    assert set(re.findall(r'^@decides\("(\w+)"\)$', marked, re.MULTILINE)) == {*RULES, *CONFLICTS} - {"conflict"}


@decides("unchanged")
def test_a_room_whose_row_agrees_with_the_server_is_unchanged():
    """If row and server agree, the plan writes nothing and calls the whole server in step."""
    scene = in_step()

    assert scene.plan().rows == ()
    assert scene.plan().in_step
    return scene.verdict(CHAT)


def test_a_settled_server_with_rooms_of_no_concern_is_in_step():
    """Direct rooms, other people's rooms and rooms of another instance are no drift."""
    theirs = Room("!theirs", creator=CAROL).member(ME, "join")
    foreign = alices_chat("!foreign", instance="staging")

    assert in_step(joined=[alices_space(), alices_chat(), theirs, foreign]).plan().in_step


@pytest.mark.parametrize("version", [None, "1", "9", "11", "12", "org.example.weird"])
def test_power_is_computed_from_the_raw_events_in_every_room_version(version):
    """The bot may keep its identity in every room version: as listed in `users` up to 11, as the creator from 12 on."""
    chat = Room(CHAT, version=version).member(ALICE, "join").named("Chat 1").identity()
    chat.power(users={} if version == "12" else {ME: 100})
    scene = in_step(joined=[alices_space(), chat])

    assert scene.verdict(CHAT).outcome == "unchanged"


def test_an_additional_creator_of_a_version_12_room_has_infinite_power():
    """An additional creator has a creator's power in version 12 (MSC4289) and no power in version 11."""
    new = Room(CHAT, creator=CAROL, additional_creators=[ME]).member(ME, "join").member(ALICE, "join").power(users={})
    old = Room(CHAT, creator=CAROL, version="11", additional_creators=[ME]).member(ME, "join").power(users={})

    assert in_step(joined=[alices_space(), new.named("Chat 1").identity()]).verdict(CHAT).outcome == "unchanged"
    assert in_step(joined=[alices_space(), old.named("Chat 1").identity()]).verdict(CHAT).outcome == "power_lost"


def test_a_view_of_one_room_says_nothing_about_the_others():
    """The planner does not judge the rows of rooms that an incomplete view leaves out."""
    chat = alices_chat()
    view = ServerView(ME, {CHAT: room_view(CHAT, chat.state.values(), ME, default="leave")}, frozenset({CHAT}),
                      complete=False)  # fmt: skip

    decided = plan(view, {SPACE: SPACE_ROW}, instance=INSTANCE)

    assert [o.room_id for o in decided.outcomes] == [CHAT]
    assert decided.rows == (CHAT_ROW,)


def test_a_view_of_one_room_respects_the_chats_that_the_rows_hold():
    """A room that claims the chat of another room's row stays unrouted, also when it is looked at alone."""
    other = alices_chat(OTHER_CHAT, ts=2000)
    view = ServerView(ME, {OTHER_CHAT: room_view(OTHER_CHAT, other.state.values(), ME, default="leave")},
                      frozenset({OTHER_CHAT}), complete=False)  # fmt: skip

    (verdict,) = plan(view, {CHAT: CHAT_ROW, SPACE: SPACE_ROW}, instance=INSTANCE).outcomes

    assert (verdict.reason, verdict.row) == ("duplicate_chat_id", None)


def test_the_report_has_every_counter_and_they_add_up():
    """The report counts every outcome, the counters add up to the rooms seen, and it lists only rooms that changed."""
    left = alices_chat("!gone").member(ME, "leave", by=ALICE)
    rows = [SPACE_ROW, replace(CHAT_ROW, room_id=RoomId("!gone"), chat_id=ChatId("C3"))]
    report = in_step(left=[left], rows=rows).plan().report()

    assert set(report["outcomes"]) == {*RULES, "conflict"}
    assert sum(report["outcomes"].values()) == report["rooms_seen"] == 3
    assert {room["room_id"]: room["outcome"] for room in report["rooms"]} == {
        CHAT: "recovered",
        "!gone": "left_offline",
    }
