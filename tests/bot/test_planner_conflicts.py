"""What reconciliation decides when two sources disagree: each conflict has one fixed rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom_bot.matrix.ids import ChatId
from tests.bot.decides import decides
from tests.bot.factory import (
    CAROL,
    CHAT,
    CHAT_ROW,
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

# Conflicts: each has one fixed rule


@decides("identity_missing")
def test_a_room_with_a_row_that_lost_its_identity_keeps_its_row():
    """No identity is made up, nothing is written."""
    verdict = in_step(joined=[alices_space(), alices_chat().without("dev.greenroom.chat")]).verdict(CHAT)

    assert verdict.row is None
    return verdict


@decides("identity_missing")
def test_a_room_that_we_made_and_that_has_no_identity_is_reported():
    """Every room of ours is born with one, so this wants a person's eyes."""
    return Scene(joined=[Room("!bare", creator=ME)]).verdict("!bare")


@decides("forged_identity")
def test_an_identity_written_by_somebody_else_is_not_believed():
    """Carol names Alice as the owner in a room of her own and invites the bot: she gains nothing."""
    forged = Room("!trap", creator=CAROL).member(ME, "join").identity(by=CAROL)
    scene = in_step(joined=[alices_space(), alices_chat(), forged])

    assert scene.verdict("!trap").row is None
    assert scene.verdict(CHAT).outcome == "unchanged"
    return scene.verdict("!trap")


def test_an_older_forgery_does_not_take_the_chat_away():
    """A forged claim is no claim, however early its room was made."""
    forged = Room("!trap", creator=CAROL, ts=1).member(ME, "join").identity(by=CAROL)
    scene = in_step(joined=[forged, alices_space(), alices_chat()], rows=[])

    assert {row.room_id for row in scene.plan().rows} == {SPACE, CHAT}


def test_a_forged_identity_in_a_chat_of_ours_leaves_the_row_as_it_is():
    """Somebody with power overwrote it; the records still know better."""
    verdict = in_step(joined=[alices_space(), alices_chat().identity(by=CAROL, owner=CAROL)]).verdict(CHAT)

    assert (verdict.reason, verdict.detail, verdict.row) == ("forged_identity", "written by @carol:hs1", None)


@decides("malformed_identity")
def test_an_identity_that_cannot_be_read_is_not_believed():
    """A newer Greenroom wrote it, say."""
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
    """Missing, of a wrong type, or not what we write."""
    assert in_step(joined=[alices_space(), alices_chat(**wrong)]).verdict(CHAT).reason == "malformed_identity"


def test_unknown_extra_keys_of_an_identity_are_let_through():
    """An addition that needs no new version."""
    assert in_step(joined=[alices_space(), alices_chat(colour="green")]).verdict(CHAT).outcome == "unchanged"


@decides("kind_mismatch")
def test_a_chat_identity_on_a_space_is_not_believed():
    """Identity and room type disagree."""
    verdict = in_step(joined=[alices_space().identity(), alices_chat(chat_id="C2")]).verdict(SPACE)

    assert verdict.row is None
    return verdict


@decides("kind_mismatch")
def test_a_space_identity_on_a_plain_room_is_not_believed():
    """The other way round."""
    return in_step(joined=[alices_space(), alices_chat(kind="space", chat_id="space")]).verdict(CHAT)


@decides("duplicate_chat_id")
def test_of_two_rooms_with_one_chat_the_older_has_it():
    """By the server's clock; the younger is not routed."""
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, ts=2000)], rows=[])

    assert scene.verdict(CHAT).outcome == "recovered"
    assert scene.verdict(OTHER_CHAT).row is None
    assert scene.verdict(OTHER_CHAT).detail == "C1 of @alice:hs1 is !chat"
    return scene.verdict(OTHER_CHAT)


def test_of_two_rooms_of_the_same_moment_the_smaller_room_id_has_the_chat():
    """Some fixed choice that needs no memory."""
    scene = in_step(joined=[alices_space(), alices_chat(OTHER_CHAT), alices_chat()], rows=[])

    assert scene.verdict(CHAT).outcome == "recovered"
    assert scene.verdict(OTHER_CHAT).reason == "duplicate_chat_id"


def test_the_holder_of_a_chat_does_not_depend_on_our_records():
    """A row for the younger room is marked; a lost database would lead to the same holder."""
    row = replace(CHAT_ROW, room_id=OTHER_CHAT, created_ts=2000, linked=False)
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, ts=2000)], rows=[SPACE_ROW, row])

    verdict = scene.verdict(OTHER_CHAT)

    assert (verdict.reason, verdict.row) == (
        "duplicate_chat_id",
        replace(row, status="conflict", detail="C1 of @alice:hs1 is !chat"),
    )


def test_a_conflict_that_is_marked_already_is_reported_again_and_not_written_again():
    """It stands until somebody resolves it; nothing new has happened."""
    detail = "C1 of @alice:hs1 is !chat"
    row = replace(CHAT_ROW, room_id=OTHER_CHAT, created_ts=2000, linked=False, status="conflict", detail=detail)
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, ts=2000)])
    scene.rows.append(row)

    assert scene.verdict(OTHER_CHAT).reason == "duplicate_chat_id"
    assert scene.plan().rows == ()


def test_a_room_whose_state_could_not_be_fetched_keeps_its_chat():
    """We are still in it, so a younger room with the same identity does not take the chat over meanwhile."""
    younger = alices_chat(OTHER_CHAT, ts=2000)
    scene = in_step(joined=[alices_space(), younger], joined_rooms=[SPACE, CHAT, OTHER_CHAT])

    assert scene.verdict(CHAT).reason == "fetch_failed"
    assert scene.verdict(OTHER_CHAT).reason == "duplicate_chat_id"


def test_the_same_chat_id_of_two_people_is_no_conflict():
    """Chat ids are counted per person."""
    scene = in_step(joined=[alices_space(), alices_chat(), alices_chat(OTHER_CHAT, owner=CAROL)], rows=[])

    assert scene.verdict(OTHER_CHAT).outcome == "recovered"


@decides("duplicate_space")
def test_of_two_spaces_of_one_person_the_older_is_used():
    """Both stay; the younger gets no new chats."""
    return in_step(joined=[alices_space(), alices_chat(), alices_space("!second", ts=950)]).verdict("!second")


@decides("local_mismatch")
def test_a_row_that_says_something_else_than_the_identity_follows_the_server():
    """Somebody edited the database, or restored an old one."""
    verdict = in_step(rows=[SPACE_ROW, replace(CHAT_ROW, chat_id=ChatId("C7"))]).verdict(CHAT)

    assert (verdict.row, verdict.detail) == (CHAT_ROW, "row said C7 of @alice:hs1")
    return verdict


@pytest.mark.parametrize("wrong", [{"owner": CAROL}, {"kind": "space"}, {"chat_id": ChatId("C9")}], ids=str)
def test_chat_owner_and_kind_are_each_compared(wrong):
    """Any of the three makes it a mismatch."""
    assert in_step(rows=[SPACE_ROW, replace(CHAT_ROW, **wrong)]).verdict(CHAT).reason == "local_mismatch"
