"""What reconciliation decides for a room: one test per outcome, and what its report says.

A test marked `decides` returns the verdict that it is about; the marker checks its outcome (or kind of conflict).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.planner import CONFLICTS, RULES, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.view import ServerView, room_view
from tests.bot.decides import DECIDED, decides
from tests.bot.factory import (
    ALICE,
    CAROL,
    CHAT,
    CHAT_ROW,
    DIRECT,
    INSTANCE,
    ME,
    OTHER_CHAT,
    SPACE,
    SPACE_ROW,
    Room,
    Scene,
    alices_chat,
    alices_space,
    in_step,
)


def test_every_rule_and_every_conflict_has_a_test():
    """Each outcome and each kind of conflict has a test in one of these files."""
    from tests.bot import test_planner_changes, test_planner_conflicts, test_planner_gone  # their marks fill DECIDED

    assert all((test_planner_changes, test_planner_conflicts, test_planner_gone))
    assert {*RULES, *CONFLICTS} == DECIDED


# In step


@decides("unchanged")
def test_a_room_whose_row_agrees_with_the_server_is_unchanged():
    """Nothing to write, and the whole plan says so."""
    scene = in_step()

    assert scene.plan().rows == ()
    assert scene.plan().in_step
    return scene.verdict(CHAT)


@pytest.mark.parametrize("version", [None, "1", "9", "11", "12", "org.example.weird"])
def test_power_is_computed_from_the_raw_events_in_every_room_version(version):
    """Up to version 11 the creator is listed in users; from 12 on it may not be, and has infinite power."""
    chat = Room(CHAT, version=version).member(ALICE, "join").named("Chat 1").identity()
    chat.power(users={} if version == "12" else {ME: 100})
    scene = in_step(joined=[alices_space(), chat])

    assert scene.verdict(CHAT).outcome == "unchanged"


def test_an_additional_creator_of_a_version_12_room_has_infinite_power():
    """MSC4289: whoever is in additional_creators counts as a creator; in version 11 the key means nothing."""
    new = Room(CHAT, creator=CAROL, additional_creators=[ME]).member(ME, "join").member(ALICE, "join").power(users={})
    old = Room(CHAT, creator=CAROL, version="11", additional_creators=[ME]).member(ME, "join").power(users={})

    assert in_step(joined=[alices_space(), new.named("Chat 1").identity()]).verdict(CHAT).outcome == "unchanged"
    assert in_step(joined=[alices_space(), old.named("Chat 1").identity()]).verdict(CHAT).outcome == "power_lost"


# Rows that were lost


@decides("recovered")
def test_a_lost_row_is_rebuilt_from_the_identity():
    """The rebuilt row is the lost one, field by field."""
    verdict = in_step(rows=[SPACE_ROW]).verdict(CHAT)

    assert verdict.row == CHAT_ROW
    return verdict


def test_all_rows_lost_are_all_rebuilt():
    """Losing the database loses no chat."""
    decided = in_step(rows=[]).plan()

    assert set(decided.rows) == {SPACE_ROW, CHAT_ROW}
    assert decided.report()["outcomes"]["recovered"] == 2


def test_an_archived_chat_is_recovered_as_archived():
    """The archived flag comes from the identity, so a lost row does not reopen a chat."""
    verdict = in_step(joined=[alices_space(children=()), alices_chat(archived=True)], rows=[SPACE_ROW]).verdict(CHAT)

    assert verdict.outcome == "recovered"
    assert verdict.row == replace(CHAT_ROW, archived=True, linked=False)


def test_an_identity_in_the_timeline_counts_and_the_last_one_wins():
    """State that changed just now comes in the timeline section and is newer than the state section."""
    chat = alices_chat(title="old")
    chat.timeline.append(chat.identity(archived=True).state["dev.greenroom.chat", ""])
    chat.identity(title="old")

    verdict = in_step(joined=[alices_space(), chat]).verdict(CHAT)

    assert (verdict.outcome, verdict.changes) == ("archived", ("archived",))


@decides("registered")
def test_a_room_whose_creation_was_interrupted_is_registered():
    """Its request is among the intents: it was never lost, only not yet written down."""
    verdict = in_step(rows=[SPACE_ROW]).verdict(CHAT, interrupted=("$asked-for-chat",))

    assert verdict.row == CHAT_ROW
    return verdict


@pytest.mark.parametrize("mark", ["left", "orphaned", "powerless", "conflict"])
def test_a_marked_row_whose_room_is_whole_again_becomes_active(mark):
    """Invited back, owner returned, power given back, rival gone: the mark is taken off."""
    marked = replace(CHAT_ROW, status=mark, detail="why")

    verdict = in_step(rows=[SPACE_ROW, marked]).verdict(CHAT)

    assert verdict.outcome == "registered"
    assert verdict.row == CHAT_ROW


def test_a_row_that_lacks_a_lesser_fact_is_registered_anew():
    """Facts without an outcome of their own (request, creation time) still follow the server."""
    verdict = in_step(rows=[SPACE_ROW, replace(CHAT_ROW, created_ts=5)]).verdict(CHAT)

    assert (verdict.outcome, verdict.changes, verdict.row) == ("registered", ("created_ts",), CHAT_ROW)


# Invites


@decides("invite_pending")
def test_an_invite_that_came_while_offline_is_pending():
    """Reconciliation never answers it; the live bot does."""
    invite = Room(DIRECT, creator=CAROL).member(ME, "invite", by=CAROL, is_direct=True)

    verdict = in_step(invited=[invite]).verdict(DIRECT)

    assert verdict.row is None
    return verdict


def test_an_invite_remembers_who_invited_and_whether_it_is_a_direct_chat():
    """That is what the answer depends on."""
    invite = Room(DIRECT, creator=CAROL).member(ME, "invite", by=CAROL, is_direct=True)

    (room,) = Scene(invited=[invite]).view().rooms.values()

    assert (room.invited_by, room.invited_direct) == (CAROL, True)


# Rooms that are not chats


@decides("skipped")
def test_a_direct_room_is_remembered_with_its_person():
    """What m.direct says is enough to attend to it."""
    direct = Room(DIRECT, creator=ALICE).member(ME, "join")

    verdict = in_step(joined=[direct], rows=[], direct={ALICE: [DIRECT]}).verdict(DIRECT)

    assert (verdict.reason, verdict.row) == ("direct_room", RoomRow(DIRECT, "direct", ChatId(""), ALICE))
    return verdict


@pytest.mark.parametrize("direct", [{ALICE: [DIRECT]}, {}])
def test_a_known_direct_room_is_left_alone(direct):
    """Also when the account data lost it."""
    row = RoomRow(DIRECT, "direct", ChatId(""), ALICE)
    room = Room(DIRECT, creator=ALICE).member(ME, "join")

    verdict = Scene(joined=[room], rows=[row], direct=direct).verdict(DIRECT)

    assert (verdict.outcome, verdict.reason, verdict.row) == ("skipped", "direct_room", None)


@decides("skipped")
def test_a_room_without_identity_that_somebody_else_made_is_not_ours():
    """Somebody invited the account by hand."""
    verdict = Scene(joined=[Room("!theirs", creator=CAROL).member(ME, "join")]).verdict("!theirs")

    assert (verdict.reason, verdict.row) == ("not_ours", None)
    return verdict


@decides("skipped")
def test_a_room_of_another_instance_is_left_alone():
    """Two deployments may share one account; each sees to its own rooms."""
    verdict = in_step(joined=[alices_space(), alices_chat(instance="staging")], rows=[]).verdict(CHAT)

    assert (verdict.reason, verdict.detail, verdict.row) == ("other_instance", "staging", None)
    return verdict


def test_a_settled_server_with_rooms_of_no_concern_is_in_step():
    """Direct rooms, other people's rooms and other instances are no drift."""
    theirs = Room("!theirs", creator=CAROL).member(ME, "join")
    foreign = alices_chat("!foreign", instance="staging")

    assert in_step(joined=[alices_space(), alices_chat(), theirs, foreign]).plan().in_step


# The same planner for one room at runtime


def test_a_view_of_one_room_says_nothing_about_the_others():
    """Rows of rooms that were not looked at are not judged."""
    chat = alices_chat()
    view = ServerView(ME, {CHAT: room_view(CHAT, chat.state.values(), ME, default="leave")}, frozenset({CHAT}),
                      complete=False)  # fmt: skip

    decided = plan(view, {SPACE: SPACE_ROW}, instance=INSTANCE)

    assert [o.room_id for o in decided.outcomes] == [CHAT]
    assert decided.rows == (CHAT_ROW,)


def test_a_view_of_one_room_respects_the_chats_that_the_rows_hold():
    """A second room with a chat that another room has stays unrouted, also at runtime."""
    other = alices_chat(OTHER_CHAT, ts=2000)
    view = ServerView(ME, {OTHER_CHAT: room_view(OTHER_CHAT, other.state.values(), ME, default="leave")},
                      frozenset({OTHER_CHAT}), complete=False)  # fmt: skip

    (verdict,) = plan(view, {CHAT: CHAT_ROW, SPACE: SPACE_ROW}, instance=INSTANCE).outcomes

    assert (verdict.reason, verdict.row) == ("duplicate_chat_id", None)


# The report


def test_the_report_has_every_counter_and_they_add_up():
    """One line for the log; rooms that need nobody's attention are counted and not listed."""
    left = alices_chat("!gone").member(ME, "leave", by=ALICE)
    rows = [SPACE_ROW, replace(CHAT_ROW, room_id=RoomId("!gone"), chat_id=ChatId("C3"))]
    report = in_step(left=[left], rows=rows).plan().report()

    assert set(report["outcomes"]) == {*RULES, "conflict"}
    assert sum(report["outcomes"].values()) == report["rooms_seen"] == 3
    assert {room["room_id"]: room["outcome"] for room in report["rooms"]} == {
        CHAT: "recovered",
        "!gone": "left_offline",
    }


def test_the_owner_of_a_forged_room_does_not_matter():
    """An unlisted person cannot become an owner by writing identities."""
    forged = Room("!trap", creator=CAROL).member(ME, "join").identity(by=CAROL, owner=UserId("@mallory:evil"))

    assert Scene(joined=[forged]).plan().rows == ()
