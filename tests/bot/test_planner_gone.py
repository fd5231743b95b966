"""What reconciliation decides for rooms that the bot, the owner or the bot's power has left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bot.decides import decides
from tests.bot.factory import (
    ALICE,
    CAROL,
    CHAT,
    CHAT_ROW,
    ME,
    OTHER_CHAT,
    SPACE,
    SPACE_ROW,
    Room,
    alices_chat,
    alices_space,
    in_step,
)

# Rooms we are out of


@decides("left_offline")
def test_a_room_we_were_kicked_from_is_marked_with_who_and_why():
    """Kicked while down: the row stays, marked left."""
    kicked = alices_chat().member(ME, "leave", by=ALICE, reason="enough")

    verdict = in_step(joined=[alices_space()], left=[kicked]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="left", detail="kicked by @alice:hs1: enough")
    return verdict


@decides("left_offline")
def test_a_room_we_were_banned_from_is_marked_as_such():
    """Servers list a ban in the leave section."""
    banned = alices_chat().member(ME, "ban", by=ALICE)

    verdict = in_step(joined=[alices_space()], left=[banned]).verdict(CHAT)

    assert verdict.detail == "banned by @alice:hs1"
    return verdict


@decides("left_offline")
def test_a_room_that_our_account_left_by_itself_is_marked_as_such():
    """Somebody may use the bot's account by hand, or reset it."""
    left = alices_chat().member(ME, "leave", by=ME)

    verdict = in_step(joined=[alices_space()], left=[left]).verdict(CHAT)

    assert verdict.detail == "left by our own account"
    return verdict


@decides("left_offline")
def test_a_room_gone_from_sync_and_from_joined_rooms_is_marked_left():
    """A forgotten room leaves no trace in the sync; joined_rooms agreeing that we are out of it is what counts."""
    verdict = in_step(joined=[alices_space()]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="left", detail="no longer among our joined rooms")
    return verdict


@decides("unchanged")
def test_a_room_known_to_be_left_is_unchanged():
    """It was reported when it happened."""
    return in_step(joined=[alices_space()], rows=[SPACE_ROW, replace(CHAT_ROW, status="left")]).verdict(CHAT)


@decides("skipped")
def test_a_left_room_that_was_not_ours_is_none_of_our_business():
    """Whatever it was, we are out of it."""
    left = Room(CHAT).member(ALICE, "join").member(ME, "leave")
    verdict = in_step(rows=[SPACE_ROW], joined=[alices_space()], left=[left]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("left_before", None)
    return verdict


@pytest.mark.parametrize("identity", [{"instance": "staging"}, {"chat_id": 5}, {"by": CAROL}, {"kind": "space"}])
def test_a_left_room_with_an_identity_that_is_not_ours_gets_no_row(identity):
    """Another deployment's, a malformed one, a forged one, one that does not fit the room."""
    left = Room(CHAT).member(ALICE, "join").identity(**identity).member(ME, "leave")

    verdict = in_step(rows=[SPACE_ROW], joined=[alices_space()], left=[left]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("left_before", None)


@decides("left_offline")
def test_a_chat_that_we_left_before_its_row_was_lost_keeps_its_chat_id():
    """Else the next chat would be given that id, and the service would take it for the old one."""
    left = alices_chat().member(ME, "leave", by=ALICE)
    verdict = in_step(rows=[SPACE_ROW], joined=[alices_space()], left=[left]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="left", detail=verdict.detail, linked=verdict.row.linked)
    assert "kicked by" in verdict.detail
    return verdict


@decides("skipped")
def test_a_room_absent_from_the_sync_alone_is_not_left():
    """Servers leave quiet rooms out of a sync; joined_rooms still lists it, so its state could only not be fetched."""
    verdict = in_step(joined=[alices_space()], joined_rooms=[SPACE, CHAT]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("fetch_failed", None)
    return verdict


@decides("skipped")
def test_a_joined_room_that_joined_rooms_does_not_list_is_unclear():
    """The two answers disagree, and nothing is concluded from either."""
    verdict = in_step(joined_rooms=[SPACE]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("membership_unclear", None)
    return verdict


@decides("skipped")
def test_a_room_that_the_sync_calls_left_and_joined_rooms_calls_joined_is_unclear():
    """We may have been let in again between the two answers."""
    left = alices_chat().member(ME, "leave", by=ALICE)

    verdict = in_step(joined=[alices_space()], left=[left], joined_rooms=[SPACE, CHAT]).verdict(CHAT)

    assert (verdict.reason, verdict.row) == ("membership_unclear", None)
    return verdict


@pytest.mark.parametrize("listed_as_left", [True, False])
def test_without_joined_rooms_nothing_is_marked_as_left(listed_as_left):
    """A degraded run concludes nothing from absence, and leaves even a reported leave to the next run."""
    left = [alices_chat().member(ME, "leave", by=ALICE)] if listed_as_left else []
    scene = in_step(joined=[alices_space()], left=left, joined_rooms=None)

    assert scene.plan().degraded
    assert not scene.plan().in_step
    assert (scene.verdict(CHAT).outcome, scene.verdict(CHAT).row) == ("skipped", None)
    assert scene.verdict(SPACE).outcome == "unchanged"


def test_a_degraded_run_still_recovers_what_it_sees():
    """Only conclusions from absence need joined_rooms."""
    assert set(in_step(rows=[], joined_rooms=None).plan().rows) == {SPACE_ROW, CHAT_ROW}


# Replaced rooms


@decides("tombstoned")
def test_a_replaced_room_says_where_it_went_and_that_we_are_there():
    """Upgraded, and the bot was taken along."""
    joined = [alices_space(), alices_chat().replaced_by("!new"), Room("!new", creator=ALICE).member(ME, "join")]

    verdict = in_step(joined=joined).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="tombstoned", detail="replaced by !new (joined)")
    return verdict


@decides("tombstoned")
def test_a_replaced_room_whose_replacement_we_are_not_in_says_so():
    """The bot does not follow by itself."""
    verdict = in_step(joined=[alices_space(), alices_chat().replaced_by("!new")]).verdict(CHAT)

    assert verdict.detail == "replaced by !new (not joined)"
    return verdict


@pytest.mark.parametrize("replacement", [..., "", None, 7, ["!new"]])
def test_a_tombstone_that_names_no_room_still_closes_the_room(replacement):
    """The replacement is missing or malformed."""
    verdict = in_step(joined=[alices_space(), alices_chat().replaced_by(replacement)]).verdict(CHAT)

    assert (verdict.outcome, verdict.detail) == ("tombstoned", "replaced by nothing")


def test_a_tombstone_without_a_body_counts():
    """nio's schema refuses it; the spec does not."""
    chat = alices_chat().put("m.room.tombstone", {"replacement_room": "!new"}, sender=ALICE)

    assert in_step(joined=[alices_space(), chat]).verdict(CHAT).outcome == "tombstoned"


def test_the_replacement_is_not_adopted_without_an_identity_of_its_own():
    """The identity is not carried over an upgrade; a room made by a person is not ours until we said so in it."""
    new = Room("!new", creator=ALICE, predecessor={"room_id": CHAT}).member(ME, "join")
    scene = in_step(joined=[alices_space(), alices_chat().replaced_by("!new"), new])

    assert scene.verdict("!new").reason == "not_ours"


@decides("recovered")
def test_a_room_of_ours_with_the_same_chat_takes_over_from_a_tombstoned_one():
    """The tombstoned room is older, and still the one in use holds the chat."""
    chat = alices_chat().replaced_by(OTHER_CHAT)
    scene = in_step(joined=[alices_space(), chat, alices_chat(OTHER_CHAT, ts=5000)])

    assert scene.verdict(CHAT).outcome == "tombstoned"
    return scene.verdict(OTHER_CHAT)


# Owner and power


@decides("orphaned_no_owner")
def test_a_chat_whose_owner_left_is_orphaned():
    """The chat id stays taken."""
    chat = alices_chat().member(ALICE, "leave")

    verdict = in_step(joined=[alices_space(), chat]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="orphaned", detail="@alice:hs1 left")
    return verdict


def test_a_chat_whose_owner_was_banned_is_orphaned():
    """An administrator threw them out."""
    verdict = in_step(joined=[alices_space(), alices_chat().member(ALICE, "ban", by=ME)]).verdict(CHAT)

    assert (verdict.outcome, verdict.detail) == ("orphaned_no_owner", "@alice:hs1 was banned")


@pytest.mark.parametrize("membership", ["invite", "knock"])
def test_an_owner_who_has_not_come_yet_has_not_gone(membership):
    """A fresh chat waits for its owner to accept the invite."""
    chat = alices_chat().member(ALICE, membership, by=ME)

    assert in_step(joined=[alices_space(), chat]).verdict(CHAT).outcome == "unchanged"


@decides("power_lost")
def test_a_chat_whose_identity_we_can_no_longer_write_is_marked():
    """Somebody took our power; messages are still answered."""
    chat = Room(CHAT, version="11").member(ALICE, "join").named("Chat 1").identity().power(users={ALICE: 100, ME: 50})

    verdict = in_step(joined=[alices_space(), chat]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="powerless", detail="our power is 50")
    return verdict


def test_a_bot_removed_from_the_power_list_has_the_default_power():
    """nio's model would still read the old level: it merges lists."""
    chat = Room(CHAT, version="11").member(ALICE, "join").named("Chat 1").identity().power(users={ALICE: 100})

    assert in_step(joined=[alices_space(), chat]).verdict(CHAT).detail == "our power is 0"
