"""A person whose Space the bot is out of gets a new one, with all open chats in it, and is told what was made."""

from __future__ import annotations

import pytest

from greenroom_bot.rooms.identity import IDENTITY_TYPE
from tests.bot.factory import ALICE, ME
from tests.bot.test_provisioning import made, provisioned


@pytest.fixture
def chat(server):
    """Alice's chat C1; the bot was kicked from her Space, which lists it."""
    server.space("!chat").member(ME, "leave", by=ALICE)
    return server.chat()


def told_of(direct, *rooms):
    return all(room.room_id in direct.said()[0] for room in rooms)


async def new(server, chat):
    await server.say(chat, "!new Notes")
    await server.until(lambda: chat.said())
    return chat.said()[0]


async def test_an_invite_makes_a_new_space_with_the_open_chats_and_says_so(server, start, chat):
    """The bot rewrites the chats' Space in their identities, lists them in the new one, and makes no chat."""
    server.chat("!archived", chat_id="C2", request="$archived", archived=True)
    run = await start().live()

    direct = await server.invite()
    await provisioned(server, direct)
    await run.stop()

    (space,) = [room for room in made(server, "space") if room.room_id != "!space"]
    assert chat.state[IDENTITY_TYPE, ""]["content"]["space_id"] == space.room_id
    assert space.state["m.space.child", "!chat"]["content"] == {"via": ["hs1"]}
    assert ("m.space.child", "!archived") not in space.state
    assert (run.row().space_id, run.row().linked) == (space.room_id, True)
    assert direct.said()[0].startswith("Hello! I made you the Space “Chats of alice”")
    assert told_of(direct, space, chat)
    assert [room for room in made(server, "chat") if room.room_id.startswith("!made")] == []


async def test_new_says_that_it_made_a_space_too(server, start, chat):
    """`!new` without a Space makes both, moves the open chats, and names both."""
    await start().live()

    answer = await new(server, chat)

    (space,) = [room for room in made(server, "space") if room.room_id != "!space"]
    assert answer.startswith("Made C2 “Notes”")
    assert space.room_id in answer
    listed = [key for (type_, key) in space.state if type_ == "m.space.child"]
    assert sorted(listed) == sorted(room.room_id for room in made(server, "chat"))


async def test_a_closed_chat_beside_a_space_in_use_leads_to_a_new_chat_that_is_told(server, start):
    """A person with a Space and no open chat is told of the chat that was made, and of no new Space."""
    server.space("!chat")
    server.chat(archived=True)
    await start().live()

    direct = await server.invite()
    await provisioned(server, direct)

    assert direct.said()[0].startswith("Hello! I made you the chat “Chat 2”")
    assert told_of(direct, server.rooms["!space"])


@pytest.mark.parametrize("moment", ["PUT /rooms/!made.*/m.space.child", "PUT /rooms/!chat/state/dev.greenroom.chat"])
async def test_a_bot_killed_while_it_moves_chats_finishes_it_at_the_next_start(
    server, start, chat, moment, monkeypatch
):
    """A crash between the two writes of a move is repaired when the same request is handled again."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0)
    gate = server.hold(moment)
    first = await start().live()
    await server.say(chat, "!new Notes")
    await server.until(lambda: server.faults[0].times == 0, moment)
    await first.stop()
    gate.set()

    second = await start().live()
    await server.until(lambda: chat.said())
    await second.stop()

    (space,) = [room for room in made(server, "space") if room.room_id != "!space"]
    assert chat.state[IDENTITY_TYPE, ""]["content"]["space_id"] == space.room_id
    assert space.state["m.space.child", "!chat"]["content"] == {"via": ["hs1"]}
    assert (second.row().space_id, second.row().linked) == (space.room_id, True)
    assert len(made(server, "chat")) == 2
    assert space.room_id in chat.said()[0]


async def test_a_chat_that_cannot_be_moved_stops_nothing(server, start, chat):
    """If the homeserver refuses to move one chat, the bot logs it, and makes what was asked for."""
    server.chat("!other", chat_id="C2", request="$other")
    server.fail("PUT /rooms/!chat/state/dev.greenroom.chat", 403, {"errcode": "M_FORBIDDEN", "error": "no"})
    run = await start().live()

    answer = await new(server, chat)

    assert answer.startswith("Made C3 “Notes”")
    assert run.logged("chat_not_moved")[0]["room_id"] == "!chat"
    moved = server.rooms["!other"].state[IDENTITY_TYPE, ""]["content"]["space_id"]
    assert moved.startswith("!made")


async def test_a_chat_that_its_owner_took_off_the_space_stays_off(server, start):
    """`!new` lists only what it makes or moves: a chat of the Space in use may be unlisted on purpose."""
    server.space()
    chat = server.chat()
    await start().live()

    await new(server, chat)

    assert ("m.space.child", "!chat") not in server.rooms["!space"].state
