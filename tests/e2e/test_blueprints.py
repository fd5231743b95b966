"""Rooms of every kind from a blueprint, on a real homeserver: left, banned, replaced; and the packaged ones."""

from __future__ import annotations

import pytest

from greenroom.people.accounts import unique_localpart
from greenroom.people.person import person_on
from greenroom.seed import Seeder, seed
from greenroom.seed.load import load_blueprint, parse_blueprint
from greenroom.seed.note import Note, stays
from tests.e2e.scene import counters, start_report


@pytest.fixture
def text() -> str:
    """A blueprint with a room of each kind; its people are unique, because the tests share the homeserver."""
    anna, bert, cleo, dora, emil = (unique_localpart(name) for name in ("anna", "bert", "cleo", "dora", "emil"))
    return f"""
version: 1
name: {unique_localpart("world")}
people: [{{name: {anna}}}, {{name: {bert}}}, {{name: {cleo}}}, {{name: {dora}}}, {{name: {emil}}}]
rooms:
  - {{key: new, creator: {anna}, name: New, members: [{dora}]}}
  - key: old
    creator: {anna}
    name: Old
    replaced_by: new
    room_version: "10"
    members: [{dora}]
    left: [{bert}]
    banned: [{cleo}]
    power_levels: {{users: {{{dora}: 50}}, events: {{dev.example: 0}}}}
    state: [{{type: dev.example, sender: {cleo}, content: {{in: "${{room:new}}"}}}}]
    messages: [{{sender: {bert}, body: I was here}}, {{sender: {cleo}, body: Me too}}]
"""


async def test_people_leave_and_are_banned_after_they_did_their_part_and_the_room_is_replaced(homeserver, text):
    """Who is out in the end has written before; the tombstone and the replacement name each other."""
    blueprint = parse_blueprint(text, "world.yaml")
    seeded = await seed(homeserver, blueprint)
    anna, bert, cleo, dora, _ = seeded.people
    old, new = seeded.rooms["old"], seeded.rooms["new"]
    async with person_on(homeserver, dora) as looking:
        await looking.sync()

        assert await looking.members(old) == {anna.user_id, dora.user_id}
        assert (await looking.state(old, "m.room.member", bert.user_id) or {})["membership"] == "leave"
        assert (await looking.state(old, "m.room.member", cleo.user_id) or {})["membership"] == "ban"
        assert await looking.state(old, "dev.example") == {"in": new}
        assert [message["content"]["body"] for message in await looking.messages(old)] == ["I was here", "Me too"]
        assert (await looking.state(old, "m.room.tombstone") or {})["replacement_room"] == new
        assert (await looking.state(new, "m.room.create") or {})["predecessor"]["room_id"] == old
        assert (await looking.state(old, "m.room.create") or {})["room_version"] == "10"

    assert (await seed(homeserver, blueprint)).steps_done == 0


async def test_an_edited_blueprint_moves_people_from_one_membership_to_another(homeserver, text):
    """Who was banned or had left may become a member, and a member may be banned."""
    first = parse_blueprint(text, "world.yaml")
    await seed(homeserver, first)
    anna, bert, cleo, dora, emil = (person.name for person in first.people)
    edited = text.replace(f"members: [{dora}]\n", f"members: [{cleo}, {bert}]\n")
    edited = edited.replace(f"left: [{bert}]", f"invited: [{emil}]").replace(f"banned: [{cleo}]", f"banned: [{dora}]")
    second = parse_blueprint(edited, "world.yaml")

    async with Seeder(homeserver, second) as seeder:
        plan = await seeder.plan()
        await seeder.apply(plan)

    assert plan.lines() == [
        f"unban {cleo}, invite {cleo} and join old as {cleo}",
        f"invite {bert} and join old as {bert}",
        f"invite {emil} to old as {anna}",
        f"ban {dora} from old as {anna}",
    ]
    assert stays(Note.of(first), second) == []
    assert (await seed(homeserver, second)).steps_done == 0


@pytest.mark.not_behind("left-rooms-without-state", because="the banned cannot read what a room was")
@pytest.mark.parametrize("version", ["12", "10"])
async def test_every_outcome_that_a_seed_can_bring_about_is_found_by_the_bots_first_start(
    fresh_homeserver, bot, version
):
    """In the rooms of the blueprint `drift` each outcome and each reason is counted as the file says."""
    server = await fresh_homeserver(extra={"default_room_version": version})
    seeded = await seed(server, load_blueprint("drift"))
    assert (await seed(server, load_blueprint("drift"))).steps_done == 0
    (account,) = (person for person in seeded.people if person.localpart == "bot")

    greenroom = await bot(server=server, account=account)

    assert counters(greenroom) == {
        "invite_pending": 1,
        "left_offline": 1,
        "skipped": 4,
        "conflict": 6,
        "tombstoned": 1,
        "orphaned_no_owner": 1,
        "power_lost": 1,
        "recovered": 4,
    }
    reasons = ("direct_room", "left_before", "not_ours", "other_instance")
    conflicts = ("duplicate_chat_id", "duplicate_space", "forged_identity", "identity_missing", "kind_mismatch")
    assert start_report(greenroom)["reasons"] == dict.fromkeys(sorted((*reasons, *conflicts, "malformed_identity")), 1)


async def test_the_chats_of_large_are_the_bots(fresh_homeserver, bot):
    """The bot recognises the Space and as many chats as were asked for."""
    server = await fresh_homeserver()
    seeded = await seed(server, load_blueprint("large", {"rooms": 5}))
    (account,) = (person for person in seeded.people if person.localpart == "bot")

    greenroom = await bot(server=server, account=account)

    assert counters(greenroom) == {"recovered": 6, "skipped": 1}
