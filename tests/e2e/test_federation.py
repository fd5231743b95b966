"""Two homeservers that federate: their people and bots meet, and each can be away for the other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from greenroom import must
from greenroom.checks import invited, joined, message
from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.people.person import Person
from tests.e2e.scene import set_up

GALLERY = Path(__file__).parents[1] / "gallery"
Pair = tuple[RunningHomeserver, RunningHomeserver]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(greenroom) -> AsyncIterator[Pair]:
    """Two homeservers that federate. Neither was told of the other at its start."""
    if not greenroom.choice.federates:
        pytest.skip(f"no federation on backend {greenroom.choice.backend}")
    async with (
        greenroom.homeserver(HomeserverSettings()) as other,
        greenroom.homeserver(HomeserverSettings(), federate_with=[other]) as server,
    ):
        yield other, server


def bodies(person: Person, room: str) -> list[str]:
    """Return what a person has seen being said in a room, in that order."""
    return [e.content["body"] for e in person.seen.timeline if e.room_id == room and e.type == "m.room.message"]


async def test_a_bot_serves_the_people_of_an_allowed_homeserver_and_declines_its_own(pair, person, bot):
    """`@*:SERVER` in the bot's list is about the homeserver of the person, not of the bot."""
    other, server = pair
    carol = await person("carol", server=other)
    alice = await person("alice", server=server)
    assert (other.server_name, server.server_name) == ("greenroom.test", "hs2.greenroom.test")
    greenroom = await bot(server=server, env={"MATRIX_ALLOWED_USERS": f"@*:{other.server_name}"})

    declined = await alice.create_direct(greenroom.user_id)
    await must.leave(alice, greenroom, declined)
    scene = await set_up(carol, greenroom)
    await must.answer(carol, greenroom, scene.chat, "hello from afar", "hello from afar")

    assert [event["room_id"] for event in greenroom.events("invite_declined")] == [declined]


async def test_a_bot_is_not_told_of_an_invite_that_the_inviters_homeserver_is_still_storing(
    pair, person, bot, monkeypatch
):
    """Synapse sends an invite before it has stored it, and refuses a join that comes at once."""
    other, server = pair
    carol = await person("carol", server=other)
    command = [sys.executable, str(GALLERY / "good.py")]
    echo = await bot(command, server=server, env={"BOT_OWNER": carol.user_id})
    create, joins_meanwhile = carol.create_direct, []

    async def slowly(user_id: str, **room: object) -> str:
        room_id = await create(user_id, **room)
        await asyncio.sleep(1.0)
        joins_meanwhile.append(echo.transcript.entries(user=echo.user_id, path="/join/"))
        return room_id

    monkeypatch.setattr(carol, "create_direct", slowly)
    room = await must.chat(carol, echo)

    assert joins_meanwhile == [[]]
    await must.answer(carol, echo, room, "!echo hello", "hello")


async def test_what_is_said_while_the_homeservers_are_apart_arrives_afterwards_once(pair, person):
    """Messages wait on the homeserver of their sender, whether the way is cut or the other homeserver is down."""
    other, server = pair
    alice = await person("alice", server=server)
    carol = await person("carol", server=other)
    room = await alice.create_direct(carol.user_id)
    await carol.until(invited(by=alice.user_id))
    await carol.join_invites()
    await alice.until(joined(carol.user_id, room))

    with server.cut_off(other):
        for number in range(3):
            await alice.send_text(room, f"alice {number}")
            await carol.send_text(room, f"carol {number}")
        await alice.until(message("alice 2"))
        await carol.until(message("carol 2"))
        apart = bodies(alice, room), bodies(carol, room)
    await alice.until(message("carol 2"))
    await carol.until(message("alice 2"))
    await other.kill()
    await alice.send_text(room, "alice while it is down")
    await other.start_again()
    await carol.until(message("alice while it is down"))
    await carol.send_text(room, "the end")
    for one in (alice, carol):
        await one.until(message("the end"))

    ours, theirs = [f"alice {n}" for n in range(3)], [f"carol {n}" for n in range(3)]
    after = ["alice while it is down", "the end"]
    assert apart == (ours, theirs)
    assert bodies(alice, room) == [*ours, *theirs, *after]
    assert bodies(carol, room) == [*theirs, *ours, *after]
