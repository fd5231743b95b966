"""Facts that changed on the server while the bot was down: how the row follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom_bot.rooms.view import server_view
from tests.bot.decides import decides
from tests.bot.factory import (
    ALICE,
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

# Replaced rooms


@decides("tombstoned")
def test_a_replaced_room_says_where_it_went_and_that_we_are_there():
    """The row of an upgraded room names the replacement, and says so if the bot is in it."""
    joined = [alices_space(), alices_chat().replaced_by("!new"), Room("!new", creator=ALICE).member(ME, "join")]

    verdict = in_step(joined=joined).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="tombstoned", detail="replaced by !new (joined)")
    return verdict


@decides("tombstoned")
def test_a_replaced_room_whose_replacement_we_are_not_in_says_so():
    """The row of an upgraded room says so if the bot is not in the replacement."""
    verdict = in_step(joined=[alices_space(), alices_chat().replaced_by("!new")]).verdict(CHAT)

    assert verdict.detail == "replaced by !new (not joined)"
    return verdict


@pytest.mark.parametrize("replacement", [..., "", None, 7, ["!new"]])
def test_a_tombstone_that_names_no_room_still_closes_the_room(replacement):
    """A tombstone without a usable replacement room still marks the row."""
    verdict = in_step(joined=[alices_space(), alices_chat().replaced_by(replacement)]).verdict(CHAT)

    assert (verdict.outcome, verdict.detail) == ("tombstoned", "replaced by nothing")


def test_a_tombstone_without_a_body_counts():
    """A tombstone without `body` counts: the spec allows it, though nio's schema refuses it."""
    chat = alices_chat().put("m.room.tombstone", {"replacement_room": "!new"}, sender=ALICE)

    assert in_step(joined=[alices_space(), chat]).verdict(CHAT).outcome == "tombstoned"


def test_the_replacement_is_not_adopted_without_an_identity_of_its_own():
    """A replacement room without an identity of its own is not ours: an upgrade does not carry the identity over."""
    new = Room("!new", creator=ALICE, predecessor={"room_id": CHAT}).member(ME, "join")
    scene = in_step(joined=[alices_space(), alices_chat().replaced_by("!new"), new])

    assert scene.verdict("!new").reason == "not_ours"


@decides("recovered")
def test_a_room_of_ours_with_the_same_chat_takes_over_from_a_tombstoned_one():
    """A younger room in use takes the chat over from an older tombstoned room."""
    chat = alices_chat().replaced_by(OTHER_CHAT)
    scene = in_step(joined=[alices_space(), chat, alices_chat(OTHER_CHAT, ts=5000)])

    assert scene.verdict(CHAT).outcome == "tombstoned"
    return scene.verdict(OTHER_CHAT)


# Owner and power


@decides("orphaned_no_owner")
def test_a_chat_whose_owner_left_is_orphaned():
    """The row of a chat whose owner left is marked, and keeps its chat id."""
    chat = alices_chat().member(ALICE, "leave")

    verdict = in_step(joined=[alices_space(), chat]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="orphaned", detail="@alice:hs1 left")
    return verdict


def test_a_chat_whose_owner_was_banned_is_orphaned():
    """The row of a chat whose owner was banned says that it was a ban."""
    verdict = in_step(joined=[alices_space(), alices_chat().member(ALICE, "ban", by=ME)]).verdict(CHAT)

    assert (verdict.outcome, verdict.detail) == ("orphaned_no_owner", "@alice:hs1 was banned")


@pytest.mark.parametrize("membership", ["invite", "knock"])
def test_an_owner_who_has_not_come_yet_has_not_gone(membership):
    """An owner who is invited or knocks has not left the chat."""
    chat = alices_chat().member(ALICE, membership, by=ME)

    assert in_step(joined=[alices_space(), chat]).verdict(CHAT).outcome == "unchanged"


@decides("power_lost")
def test_a_chat_whose_identity_we_can_no_longer_write_is_marked():
    """The row of a chat in which the bot lost power says which power is left."""
    chat = Room(CHAT, version="11").member(ALICE, "join").named("Chat 1").identity().power(users={ALICE: 100, ME: 50})

    verdict = in_step(joined=[alices_space(), chat]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, status="powerless", detail="our power is 50")
    return verdict


def test_a_bot_removed_from_the_power_list_has_the_default_power():
    """A bot that was removed from `users` has the default power, which nio's merged model does not show."""
    chat = Room(CHAT, version="11").member(ALICE, "join").named("Chat 1").identity().power(users={ALICE: 100})

    assert in_step(joined=[alices_space(), chat]).verdict(CHAT).detail == "our power is 0"


# Names, links, encryption


@decides("renamed")
def test_a_renamed_chat_gets_its_new_title():
    """A chat's row follows the room's name."""
    verdict = in_step(joined=[alices_space(), alices_chat().named("Groceries")]).verdict(CHAT)

    assert (verdict.row, verdict.changes) == (replace(CHAT_ROW, title="Groceries"), ("title",))
    return verdict


@decides("renamed")
def test_a_renamed_space_gets_its_new_title():
    """A Space's row follows the room's name."""
    return in_step(joined=[alices_space().named("Mine"), alices_chat()]).verdict(SPACE)


@pytest.mark.parametrize("name", ["", None, 7, {"en": "x"}])
def test_a_room_without_a_usable_name_is_called_as_its_identity_says(name):
    """If the room's name is removed or malformed, the title comes from the identity."""
    assert in_step(joined=[alices_space(), alices_chat().named(name)]).verdict(CHAT).outcome == "unchanged"


@decides("relinked")
def test_a_chat_removed_from_the_space_is_no_longer_linked():
    """A chat's row follows the Space's child list, and the plan leaves the Space as it is."""
    verdict = in_step(joined=[alices_space().put("m.space.child", {}, key=CHAT), alices_chat()]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, linked=False)
    return verdict


def test_what_the_picture_does_not_mention_has_not_changed():
    """Name, link, encryption and tombstone stay as in the row if the sync leaves them out."""
    chat_row = replace(CHAT_ROW, title="Renamed", encrypted=True, status="tombstoned", detail="replaced by !new")
    bare = alices_chat().without("m.room.name")

    verdict = in_step(joined=[alices_space(children=()), bare], rows=[SPACE_ROW, chat_row]).verdict(CHAT)

    assert verdict.outcome == "unchanged"


def test_the_state_after_the_timeline_is_preferred_where_the_server_gives_it():
    """If the server sends the state after the timeline (MSC4222), it wins over `state` and timeline."""
    section = alices_chat().named("Old name").section()
    renamed = alices_chat().named("New name").section()["state"]

    for part in ("state_after", "org.matrix.msc4222.state_after"):
        view = server_view({"rooms": {"join": {CHAT: {**section, part: renamed}}}}, [CHAT], ME)
        assert view.rooms[CHAT].name == "New name"


@decides("relinked")
def test_a_chat_added_to_the_space_is_linked_again():
    """A chat that is back in the Space's child list is linked again."""
    verdict = in_step(rows=[SPACE_ROW, replace(CHAT_ROW, linked=False)]).verdict(CHAT)

    assert verdict.row == CHAT_ROW
    return verdict


@pytest.mark.parametrize("emptied", [{}, {"via": []}, {"via": None}])
def test_an_emptied_space_child_is_a_removed_one(emptied):
    """An `m.space.child` without servers in `via` takes the child out, as the spec says."""
    space = alices_space(children=()).put("m.space.child", emptied, key=CHAT)

    assert in_step(joined=[space, alices_chat()]).verdict(CHAT).outcome == "relinked"


def test_a_chat_whose_space_we_were_kicked_from_is_not_linked():
    """A Space that the bot is out of links no chat."""
    space = alices_space().member(ME, "leave", by=ALICE)

    verdict = in_step(joined=[alices_chat()], left=[space]).verdict(CHAT)

    assert (verdict.outcome, verdict.row) == ("relinked", replace(CHAT_ROW, linked=False))


@decides("relinked")
def test_a_chat_that_belongs_to_another_space_now_follows():
    """A chat's row follows the Space that the identity names."""
    new = alices_space("!new-space")
    chat = alices_chat(space_id="!new-space")
    old_space = alices_space(children=()).replaced_by("!new-space")

    return in_step(joined=[old_space, new, chat]).verdict(CHAT)


@decides("archived")
def test_the_archived_flag_of_the_identity_is_followed():
    """A chat's row follows the `archived` flag of the identity."""
    space = alices_space().put("m.space.child", {}, key=CHAT)

    verdict = in_step(joined=[space, alices_chat(archived=True)]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, archived=True, linked=False)
    assert set(verdict.changes) == {"archived", "linked"}
    return verdict


@decides("archived")
def test_a_chat_taken_out_of_the_archive_is_open_again():
    """A chat whose identity is no longer archived is open again."""
    return in_step(rows=[SPACE_ROW, replace(CHAT_ROW, archived=True)]).verdict(CHAT)


@decides("encrypted")
def test_encryption_switched_on_is_followed():
    """A chat's row remembers that encryption was switched on, so the next start encrypts at once."""
    verdict = in_step(joined=[alices_space(), alices_chat().encrypted()]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, encrypted=True)
    return verdict


@pytest.mark.parametrize("name", ["\u202e", "", "\ud800"], ids=ascii)
@pytest.mark.parametrize(
    ("identity", "title"), [("From\nthe start", "From the start"), ("\u202e", "Chat 1"), ("", "Chat 1")]
)
def test_a_name_that_shows_nothing_leaves_the_identitys_title_or_the_default(name, identity, title):
    """A name without anything visible counts as none, and so does a title; then the chat has its default name."""
    scene = in_step(joined=[alices_space(), alices_chat(title=identity).named(name)], rows=[SPACE_ROW])

    assert scene.verdict(CHAT).row.title == title
