"""What reconciliation decides for a room: one test per outcome, per kind of conflict, and per way to drift apart.

A test marked `decides` returns the verdict that it is about; the marker checks its outcome (or kind of conflict).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.planner import CONFLICTS, RULES, RoomOutcome, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.view import ServerView, room_view, server_view
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

DECIDED: set[str] = set()
"""Keys of RULES and CONFLICTS for which there is a test."""


def decides(key: str) -> Callable[[Callable[[], RoomOutcome]], Callable[[], None]]:
    """Mark a test of the rule or conflict `key`: the verdict that it returns has to be of that kind."""
    DECIDED.add(key)

    def mark(test: Callable[[], RoomOutcome]) -> Callable[[], None]:
        @functools.wraps(test)
        def checked() -> None:
            verdict = test()
            assert (verdict.reason if key in CONFLICTS else verdict.outcome) == key
            assert (verdict.outcome == "conflict") == (key in CONFLICTS)

        del checked.__wrapped__  # or pytest would believe the annotation of the inner function
        return checked

    return mark


def test_every_rule_and_every_conflict_has_a_test():
    """A new outcome cannot go untested."""
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
