"""Rooms that are no chats, and identities that the bot does not believe: each conflict with its one rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom_bot.matrix.ids import ChatId, UserId
from greenroom_bot.rooms.records import RoomRow
from tests.bot.decides import decides
from tests.bot.factory import (
    ALICE,
    CAROL,
    CHAT,
    CHAT_ROW,
    DIRECT,
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

# Rooms that are not chats


@decides("skipped")
def test_a_direct_room_is_remembered_with_its_person():
    """A room in `m.direct` gets a row with its person."""
    direct = Room(DIRECT, creator=ALICE).member(ME, "join")

    verdict = in_step(joined=[direct], rows=[], direct={ALICE: [DIRECT]}).verdict(DIRECT)

    assert (verdict.reason, verdict.row) == ("direct_room", RoomRow(DIRECT, "direct", ChatId(""), ALICE))
    return verdict


@pytest.mark.parametrize("direct", [{ALICE: [DIRECT]}, {}])
def test_a_known_direct_room_is_left_alone(direct):
    """The row of a direct room stays, also if `m.direct` does not list the room any more."""
    row = RoomRow(DIRECT, "direct", ChatId(""), ALICE)
    room = Room(DIRECT, creator=ALICE).member(ME, "join")

    verdict = Scene(joined=[room], rows=[row], direct=direct).verdict(DIRECT)

    assert (verdict.outcome, verdict.reason, verdict.row) == ("skipped", "direct_room", None)


@decides("skipped")
def test_a_room_without_identity_that_somebody_else_made_is_not_ours():
    """A room that somebody else made and that has no identity is skipped."""
    verdict = Scene(joined=[Room("!theirs", creator=CAROL).member(ME, "join")]).verdict("!theirs")

    assert (verdict.reason, verdict.row) == ("not_ours", None)
    return verdict


@decides("skipped")
def test_a_room_of_another_instance_is_left_alone():
    """A room of another instance of this account is skipped, and its row is not made."""
    verdict = in_step(joined=[alices_space(), alices_chat(instance="staging")], rows=[]).verdict(CHAT)

    assert (verdict.reason, verdict.detail, verdict.row) == ("other_instance", "staging", None)
    return verdict


# Conflicts


@decides("identity_missing")
def test_a_room_with_a_row_that_lost_its_identity_keeps_its_row():
    """A room that lost its identity keeps its row, and the planner makes no identity up."""
    verdict = in_step(joined=[alices_space(), alices_chat().without("dev.greenroom.chat")]).verdict(CHAT)

    assert verdict.row is None
    return verdict


@decides("identity_missing")
def test_a_room_that_we_made_and_that_has_no_identity_is_reported():
    """A room that the bot made and that has no identity is a conflict, since every chat is born with one."""
    return Scene(joined=[Room("!bare", creator=ME)]).verdict("!bare")


@decides("forged_identity")
def test_an_identity_written_by_somebody_else_is_not_believed():
    """If Carol writes Alice's identity into a room of her own, that room gets no row and Alice's chat stays."""
    forged = Room("!trap", creator=CAROL).member(ME, "join").identity(by=CAROL)
    scene = in_step(joined=[alices_space(), alices_chat(), forged])

    assert scene.verdict("!trap").row is None
    assert scene.verdict(CHAT).outcome == "unchanged"
    return scene.verdict("!trap")


def test_an_older_forgery_does_not_take_the_chat_away():
    """A forged identity claims no chat, however old its room is."""
    forged = Room("!trap", creator=CAROL, ts=1).member(ME, "join").identity(by=CAROL)
    scene = in_step(joined=[forged, alices_space(), alices_chat()], rows=[])

    assert {row.room_id for row in scene.plan().rows} == {SPACE, CHAT}


def test_a_forged_identity_in_a_chat_of_ours_leaves_the_row_as_it_is():
    """If somebody overwrites the identity of a chat, the chat's row stays as it is."""
    verdict = in_step(joined=[alices_space(), alices_chat().identity(by=CAROL, owner=CAROL)]).verdict(CHAT)

    assert (verdict.reason, verdict.detail, verdict.row) == ("forged_identity", "written by @carol:hs1", None)


def test_the_owner_of_a_forged_room_does_not_matter():
    """A person who writes an identity with another owner makes no row."""
    forged = Room("!trap", creator=CAROL).member(ME, "join").identity(by=CAROL, owner=UserId("@mallory:evil"))

    assert Scene(joined=[forged]).plan().rows == ()


@decides("malformed_identity")
def test_an_identity_that_cannot_be_read_is_not_believed():
    """An identity of a higher version is malformed, and no row follows it."""
    verdict = in_step(joined=[alices_space(), alices_chat(v=2)]).verdict(CHAT)

    assert (verdict.detail, verdict.row) == ("v is 2, not 1", None)
    return verdict


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": ...}, {"v": "1"}, {"kind": "room"}, {"kind": ["chat"]}, {"chat_id": ""}, {"chat_id": 1},
        {"owner": "alice"}, {"owner": ...}, {"owner": None}, {"instance": 3}, {"request": ...}, {"space_id": 5},
        {"title": None}, {"archived": "yes"}, {"archived": 1},
    ],
    ids=str,
)  # fmt: skip
def test_each_key_of_an_identity_is_checked(wrong):
    """An identity is malformed if a key is missing, has a wrong type, or has a value that the bot never writes."""
    assert in_step(joined=[alices_space(), alices_chat(**wrong)]).verdict(CHAT).reason == "malformed_identity"


def test_unknown_extra_keys_of_an_identity_are_let_through():
    """An identity may have extra keys, so that an addition needs no new version."""
    assert in_step(joined=[alices_space(), alices_chat(colour="green")]).verdict(CHAT).outcome == "unchanged"


@decides("kind_mismatch")
def test_a_chat_identity_on_a_space_is_not_believed():
    """A chat's identity in a Space is a conflict, and no row follows it."""
    verdict = in_step(joined=[alices_space().identity(), alices_chat(chat_id="C2")]).verdict(SPACE)

    assert verdict.row is None
    return verdict


@decides("kind_mismatch")
def test_a_space_identity_on_a_plain_room_is_not_believed():
    """A Space's identity in a plain room is a conflict."""
    return in_step(joined=[alices_space(), alices_chat(kind="space", chat_id="space")]).verdict(CHAT)


@decides("duplicate_chat_id")
def test_of_two_rooms_with_one_chat_the_older_has_it():
    """Of two rooms that claim one chat, the older by the server's clock has it, and the younger is not routed."""
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, ts=2000)], rows=[])

    assert scene.verdict(CHAT).outcome == "recovered"
    assert scene.verdict(OTHER_CHAT).row is None
    assert scene.verdict(OTHER_CHAT).detail == "C1 of @alice:hs1 is !chat"
    return scene.verdict(OTHER_CHAT)


def test_of_two_rooms_of_the_same_moment_the_smaller_room_id_has_the_chat():
    """Of two rooms from the same millisecond that claim one chat, the smaller room id has it."""
    scene = in_step(joined=[alices_space(), alices_chat(OTHER_CHAT), alices_chat()], rows=[])

    assert scene.verdict(CHAT).outcome == "recovered"
    assert scene.verdict(OTHER_CHAT).reason == "duplicate_chat_id"


def test_the_holder_of_a_chat_does_not_depend_on_our_records():
    """If the row of the younger of two rooms holds the chat, that row is marked and the older room holds it."""
    row = replace(CHAT_ROW, room_id=OTHER_CHAT, created_ts=2000, linked=False)
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, ts=2000)], rows=[SPACE_ROW, row])

    verdict = scene.verdict(OTHER_CHAT)

    assert (verdict.reason, verdict.row) == (
        "duplicate_chat_id",
        replace(row, status="conflict", detail="C1 of @alice:hs1 is !chat"),
    )


def test_a_conflict_that_is_marked_already_is_reported_again_and_not_written_again():
    """A conflict that the row has already is reported at every start and written once."""
    detail = "C1 of @alice:hs1 is !chat"
    row = replace(CHAT_ROW, room_id=OTHER_CHAT, created_ts=2000, linked=False, status="conflict", detail=detail)
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, ts=2000)])
    scene.rows.append(row)

    assert scene.verdict(OTHER_CHAT).reason == "duplicate_chat_id"
    assert scene.plan().rows == ()


def test_a_room_whose_state_could_not_be_fetched_keeps_its_chat():
    """A room whose state could not be fetched keeps its chat from a younger room that claims it."""
    younger = alices_chat(OTHER_CHAT, ts=2000)
    scene = in_step(joined=[alices_space(), younger], joined_rooms=[SPACE, CHAT, OTHER_CHAT])

    assert scene.verdict(CHAT).reason == "fetch_failed"
    assert scene.verdict(OTHER_CHAT).reason == "duplicate_chat_id"


def test_the_same_chat_id_of_two_people_is_no_conflict():
    """Two people may have the same chat id, since chat ids count per person."""
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, owner=CAROL)], rows=[])

    assert scene.verdict(OTHER_CHAT).outcome == "recovered"


@decides("duplicate_space")
def test_of_two_spaces_of_one_person_the_older_is_used():
    """Of two Spaces of one person the older is used, and the younger is a conflict."""
    return in_step(joined=[alices_space(), alices_chat(), alices_space("!second", ts=950)]).verdict("!second")


@decides("local_mismatch")
def test_a_row_that_says_something_else_than_the_identity_follows_the_server():
    """A row with another chat id than the identity follows the server, and the conflict is reported."""
    verdict = in_step(rows=[SPACE_ROW, replace(CHAT_ROW, chat_id=ChatId("C7"))]).verdict(CHAT)

    assert (verdict.row, verdict.detail) == (CHAT_ROW, "row said C7 of @alice:hs1")
    return verdict


@pytest.mark.parametrize("wrong", [{"owner": CAROL}, {"kind": "space"}, {"chat_id": ChatId("C9")}], ids=str)
def test_chat_owner_and_kind_are_each_compared(wrong):
    """A row is a mismatch if its chat id, its owner or its kind differs from the identity."""
    assert in_step(rows=[SPACE_ROW, replace(CHAT_ROW, **wrong)]).verdict(CHAT).reason == "local_mismatch"
