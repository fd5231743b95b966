"""What reconciliation decides when facts of a room have changed: the row follows."""

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
    SPACE,
    SPACE_ROW,
    alices_chat,
    alices_space,
    in_step,
)

# Changed facts: the row follows


@decides("renamed")
def test_a_renamed_chat_gets_its_new_title():
    """A person renamed the room in their client."""
    verdict = in_step(joined=[alices_space(), alices_chat().named("Groceries")]).verdict(CHAT)

    assert (verdict.row, verdict.changes) == (replace(CHAT_ROW, title="Groceries"), ("title",))
    return verdict


@decides("renamed")
def test_a_renamed_space_gets_its_new_title():
    """Spaces are judged like chats."""
    return in_step(joined=[alices_space().named("Mine"), alices_chat()]).verdict(SPACE)


@pytest.mark.parametrize("name", ["", None, 7, {"en": "x"}])
def test_a_room_without_a_usable_name_is_called_as_its_identity_says(name):
    """A removed or malformed name is no name."""
    assert in_step(joined=[alices_space(), alices_chat().named(name)]).verdict(CHAT).outcome == "unchanged"


@decides("relinked")
def test_a_chat_removed_from_the_space_is_no_longer_linked():
    """The Space is not touched: its owner may have wanted it so."""
    verdict = in_step(joined=[alices_space().put("m.space.child", {}, key=CHAT), alices_chat()]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, linked=False)
    return verdict


def test_what_the_picture_does_not_mention_has_not_changed():
    """State never vanishes, and servers leave some out: name, link, encryption and tombstone stay as in the row."""
    chat_row = replace(CHAT_ROW, title="Renamed", encrypted=True, status="tombstoned", detail="replaced by !new")
    bare = alices_chat().without("m.room.name")

    verdict = in_step(joined=[alices_space(children=()), bare], rows=[SPACE_ROW, chat_row]).verdict(CHAT)

    assert verdict.outcome == "unchanged"


def test_the_state_after_the_timeline_is_preferred_where_the_server_gives_it():
    """MSC4222: then neither `state` nor the timeline has to be put together by us."""
    section = alices_chat().named("Old name").section()
    renamed = alices_chat().named("New name").section()["state"]

    for part in ("state_after", "org.matrix.msc4222.state_after"):
        view = server_view({"rooms": {"join": {CHAT: {**section, part: renamed}}}}, [CHAT], ME)
        assert view.rooms[CHAT].name == "New name"


@decides("relinked")
def test_a_chat_added_to_the_space_is_linked_again():
    """The Space's child list is what the row follows."""
    verdict = in_step(rows=[SPACE_ROW, replace(CHAT_ROW, linked=False)]).verdict(CHAT)

    assert verdict.row == CHAT_ROW
    return verdict


@pytest.mark.parametrize("emptied", [{}, {"via": []}, {"via": None}])
def test_an_emptied_space_child_is_a_removed_one(emptied):
    """The spec removes a child by emptying its event; nio's model would still count `via: []`."""
    space = alices_space(children=()).put("m.space.child", emptied, key=CHAT)

    assert in_step(joined=[space, alices_chat()]).verdict(CHAT).outcome == "relinked"


def test_a_chat_whose_space_we_were_kicked_from_is_not_linked():
    """A Space that we are out of lists nothing for us."""
    space = alices_space().member(ME, "leave", by=ALICE)

    verdict = in_step(joined=[alices_chat()], left=[space]).verdict(CHAT)

    assert (verdict.outcome, verdict.row) == ("relinked", replace(CHAT_ROW, linked=False))


@decides("relinked")
def test_a_chat_that_belongs_to_another_space_now_follows():
    """The identity names the Space."""
    new = alices_space("!new-space")
    chat = alices_chat(space_id="!new-space")
    old_space = alices_space(children=()).replaced_by("!new-space")

    return in_step(joined=[old_space, new, chat]).verdict(CHAT)


@decides("archived")
def test_the_archived_flag_of_the_identity_is_followed():
    """Archived by another run of the bot whose record was lost."""
    space = alices_space().put("m.space.child", {}, key=CHAT)

    verdict = in_step(joined=[space, alices_chat(archived=True)]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, archived=True, linked=False)
    assert set(verdict.changes) == {"archived", "linked"}
    return verdict


@decides("archived")
def test_a_chat_taken_out_of_the_archive_is_open_again():
    """The flag is followed in both directions."""
    return in_step(rows=[SPACE_ROW, replace(CHAT_ROW, archived=True)]).verdict(CHAT)


@decides("encrypted")
def test_encryption_switched_on_is_followed():
    """The row remembers, so that the next start encrypts at once."""
    verdict = in_step(joined=[alices_space(), alices_chat().encrypted()]).verdict(CHAT)

    assert verdict.row == replace(CHAT_ROW, encrypted=True)
    return verdict
