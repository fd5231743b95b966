"""People and the seeder on homeservers with other manners, one manner at a time: without what helps, a test fails."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from greenroom import checks, must
from greenroom.faults import with_manners
from greenroom.people.accounts import unique_localpart
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.people.person import person_on
from greenroom.seed import Seeder, seed
from greenroom.seed.load import parse_blueprint


@pytest.fixture
async def mannered(homeserver):
    """Give a homeserver other manners: `await mannered("told-twice")`."""
    async with AsyncExitStack() as stack:

        async def give(*names):
            return await stack.enter_async_context(with_manners(homeserver, names))

        yield give


@pytest.fixture
def two(person, mannered):
    """Return Alice, and Carol on a homeserver with these manners. Carol has synced once."""

    async def make(*names, encrypted=False):
        alice = await person("alice", encrypted=encrypted)
        carol = await person("carol", encrypted=encrypted, server=await mannered(*names))
        await carol.sync()
        return alice, carol

    return make


async def joined(alice, carol, **room):
    """Make a room of Alice which Carol joins. Return its id."""
    room_id = await alice.create_room(invite=[carol.user_id], **room)
    await must.see(carol, checks.invited(by=alice.user_id, room=room_id))
    await carol.join(room_id)
    return room_id


def bodies(person, room):
    return [event.body for event in person.seen.messages(room)]


async def test_a_person_joins_with_a_body(two):
    """`join-needs-a-body`: the homeserver refuses a join without."""
    alice, carol = await two("join-needs-a-body")
    room = await joined(alice, carol)

    assert room in await carol.joined_rooms()


async def test_rooms_made_at_once_are_different_rooms(two):
    """`alike-rooms-are-one`: one person makes rooms one after the other."""
    _, carol = await two("alike-rooms-are-one")
    rooms = await asyncio.gather(*(carol.create_room() for _ in range(3)))

    assert len(set(rooms)) == 3


async def test_the_latest_messages_are_messages(two):
    """`messages-heed-nothing`: neither other events nor the size of a page changes what `Person.messages` returns."""
    alice, carol = await two("messages-heed-nothing")
    room = await joined(alice, carol)
    await alice.send_text(room, "first")
    for number in range(101):
        await alice.send(room, "dev.example", {"n": number})
    await alice.send_text(room, "last")

    assert [raw["content"]["body"] for raw in await carol.messages(room)] == ["first", "last"]
    assert [raw["content"]["body"] for raw in await carol.messages(room, 1)] == ["last"]


async def test_a_whole_picture_from_a_cache_is_brought_up_to_date(two):
    """`picture-from-a-cache`: whoever begins again on the same device sees what has happened since."""
    alice, carol = await two("picture-from-a-cache")
    room = await joined(alice, carol)

    async with person_on(carol.server, carol.account) as again:
        await again.sync()
        assert again.seen.joined == {room}


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_what_is_told_twice_is_seen_once(two, encrypted):
    """`told-twice`: events, and the messages that bring keys. Both stay readable."""
    alice, carol = await two("told-twice", encrypted=encrypted)
    room = await joined(alice, carol, encrypted=encrypted)
    await must.see(alice, checks.joined(carol.user_id, room))
    await must.see(carol, checks.joined(carol.user_id, room))
    for number in range(3):
        await alice.send_text(room, f"{number}")
        await must.see(carol, checks.message(f"{number}", room=room))
    await carol.sync()
    await carol.send_text(room, "all")
    await must.see(alice, checks.message("all", room=room))

    assert bodies(carol, room)[-3:] == ["0", "1", "2"]
    if encrypted:
        assert not carol.client.olm.wedged_devices


async def test_ones_own_join_is_noticed_where_it_stands(two):
    """`own-join-in-state`: it is not among the events of the timeline."""
    alice, carol = await two("own-join-in-state")
    room = await joined(alice, carol)

    await must.see(carol, checks.joined(carol.user_id, room), timeout_s=5)


async def test_a_repeated_member_event_is_no_news(two):
    """`members-repeated`: a member event that came before does not come again."""
    alice, carol = await two("members-repeated")
    room = await joined(alice, carol)
    for number in range(3):
        await carol.sync()
        await alice.send_text(room, f"{number}")
    await must.see(carol, checks.message("2", room=room))

    ids = [event.event_id for event in carol.seen.events(room)]
    assert len(ids) == len(set(ids))
    assert bodies(carol, room) == ["0", "1", "2"]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_new_room_has_its_state(two, encrypted):
    """`new-rooms-without-state`: also for whoever encrypts in it at once, however long its history is."""
    alice, carol = await two("new-rooms-without-state", encrypted=encrypted)
    room = await alice.create_room(name="Den", invite=[carol.user_id], encrypted=encrypted)
    for number in range(105):  # so that no timeline has the beginning
        await alice.send(room, "dev.example", {"n": number})
    await must.see(carol, checks.invited(room=room))
    await carol.join(room)
    await must.see(carol, checks.named(room, "Den"))
    assert carol.seen.is_encrypted(room) == encrypted

    await must.see(alice, checks.joined(carol.user_id, room))
    await carol.send_text(room, "hello")
    assert (await must.see(alice, checks.message("hello", room=room))).encrypted == encrypted


async def test_a_room_is_left_and_joined_again(two):
    """`left-rooms-without-state` and `left-rooms-always`: nio raises at the first, and an old leave is no news."""
    alice, carol = await two("left-rooms-without-state", "left-rooms-always")
    room = await joined(alice, carol)
    await must.see(carol, checks.joined(carol.user_id, room))
    await carol.leave(room)
    await must.see(carol, checks.membership(carol.user_id, room, "leave"))
    await alice.invite(room, carol.user_id)

    await must.see(carol, checks.invited(room=room))
    await carol.join(room)
    await must.see(carol, checks.joined(carol.user_id, room))
    await carol.sync()
    assert room in carol.seen.joined


async def test_what_a_short_timeline_leaves_out_is_read(two):
    """`timelines-of-ten`, without `to` and filter: everybody sees each message, in order, and once."""
    alice, carol = await two("timelines-of-ten", "messages-heed-nothing", "members-repeated", "told-twice")
    room = await joined(alice, carol)
    await must.see(carol, checks.joined(carol.user_id, room))
    said = [f"{number}" for number in range(25)]
    for text in said:
        await alice.send_text(room, text)
    await must.see(carol, checks.message(said[-1], room=room))

    assert bodies(carol, room) == said


async def test_an_empty_answer_is_no_end(two):
    """`woken-with-nothing`: the news comes in the next sync."""
    alice, carol = await two("woken-with-nothing")
    room = await joined(alice, carol)
    await must.see(carol, checks.joined(carol.user_id, room))
    waiting = asyncio.create_task(must.see(carol, checks.message("hello", room=room), timeout_s=5))
    await asyncio.sleep(0.1)
    await alice.send_text(room, "hello")

    await waiting


# -- the seeder


@pytest.fixture
def world():
    """A blueprint of many rooms of one person, with messages."""
    anna, bert = unique_localpart("anna"), unique_localpart("bert")
    rooms = "".join(f"  - {{key: r{n}, creator: {anna}, members: [{bert}]}}\n" for n in range(12))
    return parse_blueprint(
        f"""
version: 1
name: {unique_localpart("world")}
people: [{{name: {anna}}}, {{name: {bert}}}]
rooms:
{rooms}
  - key: den
    creator: {anna}
    name: Den
    members: [{bert}]
    messages: [{{sender: {anna}, body: one}}, {{sender: {bert}, body: two}}]
""",
        "world.yaml",
    )


@pytest.mark.parametrize("manners", ["conduit", "strict", "tuwunel", "alike-rooms-are-one", "picture-from-a-cache"])
async def test_seeding_finds_what_is_there_and_completes_it(world, mannered, manners):
    """Every room is made once, and a room that its creator left is made again, at whatever start."""
    server = await mannered(manners)
    first = await seed(server, world)
    assert len(set(first.rooms.values())) == 13
    assert (await seed(server, world)).steps_done == 0

    anna = first.people[0]
    async with MatrixApi(server.url) as api:
        token = await api.log_in(anna.user_id, anna.password, "LOOK")
        await api.call("POST", path("rooms", first.rooms["r3"], "leave"), token=token, json={})
    again = await seed(server, world)
    assert {key for key in again.rooms if again.rooms[key] != first.rooms[key]} == {"r3"}
    async with Seeder(server, world) as seeder:
        assert (await seeder.plan()).steps == ()


async def test_seeded_messages_are_found_behind_many_others(world, mannered):
    """`messages-heed-nothing`: the messages are found by their marks, page by page."""
    server = await mannered("messages-heed-nothing")
    seeded = await seed(server, world)
    async with MatrixApi(server.url) as api:
        anna = seeded.people[0]
        token = await api.log_in(anna.user_id, anna.password, "LOOK")
        for number in range(101):
            where = path("rooms", seeded.rooms["den"], "send", "dev.example", f"{number}")
            await api.call("PUT", where, token=token, json={})

    assert (await seed(server, world)).steps_done == 0
