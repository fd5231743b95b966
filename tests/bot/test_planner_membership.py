"""Rooms that the bot was invited to, is out of, or may be out of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bot.decides import decides
from tests.bot.factory import (
    ALICE,
    CAROL,
    CHAT,
    CHAT_ROW,
    DIRECT,
    ME,
    SPACE,
    SPACE_ROW,
    Room,
    Scene,
    alices_chat,
    alices_space,
    in_step,
)


@decides("left_offline")
def test_a_room_we_were_kicked_from_is_marked_with_who_and_why():
    """The row of a room that the bot was kicked from stays, with who kicked it and why."""
    kicked = alices_chat().member(ME, "leave", by=ALICE, reason="enough")

    verdict = in_step(joined=[alices_space()], left=[kicked]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="left", detail="kicked by @alice:hs1: enough")
    return verdict


@decides("left_offline")
def test_a_room_we_were_banned_from_is_marked_as_such():
    """The row of a room that the bot was banned from says who banned it."""
    banned = alices_chat().member(ME, "ban", by=ALICE)

    verdict = in_step(joined=[alices_space()], left=[banned]).verdict(CHAT)

    assert verdict.detail == "banned by @alice:hs1"
    return verdict


@decides("left_offline")
def test_a_room_that_our_account_left_by_itself_is_marked_as_such():
    """The row of a room that somebody left with the bot's account says that the account left."""
    left = alices_chat().member(ME, "leave", by=ME)

    verdict = in_step(joined=[alices_space()], left=[left]).verdict(CHAT)

    assert verdict.detail == "left by our own account"
    return verdict


@decides("left_offline")
def test_a_room_gone_from_sync_and_from_joined_rooms_is_marked_left():
    """A room that neither sync nor `joined_rooms` knows any more is marked `left`."""
    verdict = in_step(joined=[alices_space()]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="left", detail="no longer among our joined rooms")
    return verdict


@decides("unchanged")
def test_a_room_known_to_be_left_is_unchanged():
    """A room whose row says `left` already is not reported again."""
    return in_step(joined=[alices_space()], rows=[SPACE_ROW, replace(CHAT_ROW, status="left")]).verdict(CHAT)


@decides("skipped")
def test_a_left_room_that_was_not_ours_is_none_of_our_business():
    """A room without identity and row that the bot is out of gets no row."""
    left = Room(CHAT).member(ALICE, "join").member(ME, "leave")
    verdict = in_step(rows=[SPACE_ROW], joined=[alices_space()], left=[left]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("left_before", None)
    return verdict


@pytest.mark.parametrize("identity", [{"instance": "staging"}, {"chat_id": 5}, {"by": CAROL}, {"kind": "space"}])
def test_a_left_room_with_an_identity_that_is_not_ours_gets_no_row(identity):
    """Out of a room, an identity that is foreign, malformed, forged or of the wrong kind makes no row."""
    left = Room(CHAT).member(ALICE, "join").identity(**identity).member(ME, "leave")

    verdict = in_step(rows=[SPACE_ROW], joined=[alices_space()], left=[left]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("left_before", None)


@decides("left_offline")
def test_a_chat_that_we_left_before_its_row_was_lost_keeps_its_chat_id():
    """A lost row of a left chat is rebuilt as `left`: else the next chat would get the same chat id."""
    left = alices_chat().member(ME, "leave", by=ALICE)
    verdict = in_step(rows=[SPACE_ROW], joined=[alices_space()], left=[left]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="left", detail=verdict.detail, linked=verdict.row.linked)
    assert "kicked by" in verdict.detail
    return verdict


@decides("skipped")
def test_a_room_absent_from_the_sync_alone_is_not_left():
    """A room that only `joined_rooms` lists is `fetch_failed`, not left: servers leave quiet rooms out of a sync."""
    verdict = in_step(joined=[alices_space()], joined_rooms=[SPACE, CHAT]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("fetch_failed", None)
    return verdict


@decides("skipped")
def test_a_joined_room_that_joined_rooms_does_not_list_is_unclear():
    """The planner concludes nothing if the sync has a joined room that `joined_rooms` does not list."""
    verdict = in_step(joined_rooms=[SPACE]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("membership_unclear", None)
    return verdict


@decides("skipped")
def test_a_room_that_the_sync_calls_left_and_joined_rooms_calls_joined_is_unclear():
    """The planner concludes nothing if the sync says left and `joined_rooms` says joined."""
    left = alices_chat().member(ME, "leave", by=ALICE)

    verdict = in_step(joined=[alices_space()], left=[left], joined_rooms=[SPACE, CHAT]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("membership_unclear", None)
    return verdict


@pytest.mark.parametrize("listed_as_left", [True, False])
def test_without_joined_rooms_nothing_is_marked_as_left(listed_as_left):
    """Without `joined_rooms` the run is degraded and marks no room as left, not even a reported leave."""
    left = [alices_chat().member(ME, "leave", by=ALICE)] if listed_as_left else []
    scene = in_step(joined=[alices_space()], left=left, joined_rooms=None)

    assert scene.plan().degraded
    assert not scene.plan().in_step
    assert (scene.verdict(CHAT).outcome, scene.verdict(CHAT).row) == ("skipped", None)
    assert scene.verdict(SPACE).outcome == "unchanged"


def test_a_degraded_run_still_recovers_what_it_sees():
    """A degraded run rebuilds the rows of the rooms that it sees."""
    assert set(in_step(rows=[], joined_rooms=None).plan().rows) == {SPACE_ROW, CHAT_ROW}


@decides("invite_pending")
def test_an_invite_that_came_while_offline_is_pending():
    """Reconciliation counts an invite and does not answer it."""
    invite = Room(DIRECT, creator=CAROL).member(ME, "invite", by=CAROL, is_direct=True)

    verdict = in_step(invited=[invite]).verdict(DIRECT)

    assert verdict.row is None
    return verdict


def test_an_invite_remembers_who_invited_and_whether_it_is_a_direct_chat():
    """The view of an invite has its inviter and whether it is for a direct chat."""
    invite = Room(DIRECT, creator=CAROL).member(ME, "invite", by=CAROL, is_direct=True)

    (room,) = Scene(invited=[invite]).view().rooms.values()

    assert (room.invited_by, room.invited_direct) == (CAROL, True)
