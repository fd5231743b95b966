"""Chats of the reference bot on a real homeserver: who may rename them, which Space lists them, what they inherit."""

from __future__ import annotations

import pytest

from greenroom import must
from greenroom.errors import MatrixRefused
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.person import person_on
from greenroom.seed import seed
from greenroom.seed.load import load_blueprint
from tests.e2e.scene import IDENTITY, counters, identity, outcomes, set_up, start_report


async def guest_and_owner_rename(alice, carol, greenroom):
    """Let a guest and the owner rename a chat, each in a client, and the owner once more by command."""
    scene = await set_up(alice, greenroom)
    await alice.invite(scene.chat, carol.user_id)
    await carol.join(scene.chat)

    for kind, content in {
        "m.room.name": {"name": "Hers"},
        "m.room.topic": {"topic": "Hers"},
        "m.room.avatar": {},
    }.items():
        with pytest.raises(MatrixRefused, match="403 M_FORBIDDEN"):
            await carol.set_state(scene.chat, kind, content)
    await greenroom.stop()
    await alice.rename(scene.chat, "Mine")
    await alice.rename(scene.space, "My corner")
    await greenroom.start_again()
    renamed = await must.answer(alice, greenroom, scene.chat, "!rename Ours")

    assert outcomes(greenroom)[scene.chat]["outcome"] == outcomes(greenroom)[scene.space]["outcome"] == "renamed"
    assert renamed.body == "C1 is now “Ours”."
    assert counters(greenroom) == {"renamed": 2, "skipped": 1}  # and no power was lost
    return await alice.state(scene.chat, "m.room.create")


async def test_the_owner_may_rename_a_chat_and_a_guest_may_not(person, bot):
    """In room version 12, Synapse's default, a guest is refused, and the owner's client and `!rename` both work."""
    created = await guest_and_owner_rename(await person("alice"), await person("carol"), await bot())

    assert created["room_version"] == "12"


async def test_an_older_default_version_keeps_the_same_powers(fresh_homeserver, person, bot):
    """Before room version 12 a room's creator is listed beside its owner, so the bot keeps its power."""
    server = await fresh_homeserver(extra={"default_room_version": "10"})
    alice, carol = await person("alice", server=server), await person("carol", server=server)

    created = await guest_and_owner_rename(alice, carol, await bot(server=server))

    assert created["room_version"] == "10"


async def test_a_huge_name_set_in_a_client_leaves_chats_answering(person, bot):
    """A name of 60 kB with line separators is cut and cleaned for `!chats`, and is then in step."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)

    await greenroom.stop()
    await alice.rename(scene.chat, "\u202etwo\u2028lines " + "x" * 60_000)
    await greenroom.start_again()
    listed = await must.answer(alice, greenroom, scene.chat, "!chats")
    await greenroom.restart()

    assert f"C1 “{('two lines ' + 'x' * 120)[:120]}” https" in listed.body
    assert counters(greenroom) == {"unchanged": 2, "skipped": 1}


async def test_a_bot_that_left_its_space_makes_a_new_one_with_the_open_chats(person, homeserver, bot):
    """At the next `!new` the bot makes a Space, moves the open chats there, and says so."""
    account = await register(homeserver, unique_localpart("bot"))
    alice, greenroom = await person("alice"), await bot(account=account)
    scene = await set_up(alice, greenroom)
    async with person_on(homeserver, account) as as_bot:
        await as_bot.leave(scene.space)
    await greenroom.until_logged("room_left")

    answer = await must.answer(alice, greenroom, scene.chat, "!new Second")
    invited = set(await alice.join_invites())
    space = (await alice.state(scene.chat, IDENTITY))["space_id"]
    await greenroom.restart()

    (second,) = invited - {space}
    assert answer.body.startswith("Made C2 “Second”")
    assert space in answer.body
    for chat in (scene.chat, second):
        assert (await alice.state(chat, IDENTITY))["space_id"] == space
        assert await alice.state(space, "m.space.child", chat) == {"via": ["greenroom.test"]}
    assert counters(greenroom) == {"unchanged": 4, "skipped": 1}


async def test_a_restored_chat_is_listed_and_answered_again(person, bot):
    """`!restore` undoes `!archive`, in the chat itself and by its id from elsewhere, also across a restart."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await must.answer(alice, greenroom, scene.chat, "!archive", containing="C1 is archived")
    await greenroom.restart()

    restored = await must.answer(alice, greenroom, scene.direct, "!restore C1")
    answer = await must.answer(alice, greenroom, scene.chat, "hello again")

    assert "C1 “Chat 1” is open again" in restored.body
    assert answer.body == "hello again"
    assert (await alice.state(scene.chat, IDENTITY))["archived"] is False
    assert await alice.state(scene.space, "m.space.child", scene.chat) == {"via": ["greenroom.test"]}


async def test_chats_asked_for_in_an_encrypted_room_are_encrypted(person, bot):
    """The first chat of an encrypted direct room is encrypted, and `!new` in a chat makes one like that chat."""
    alice, greenroom = await person("alice", encrypted=True), await bot()
    scene = await set_up(alice, greenroom, encrypted=True)

    await must.answer(alice, greenroom, scene.chat, "!new Second", containing="Made C2")
    await alice.join_invites()
    second = await must.see(alice, identity("chat", owner=alice.user_id, chat_id="C2"), watch=[greenroom])
    answer = await must.answer(alice, greenroom, second, "a secret")

    assert answer.encrypted
    for chat in (scene.chat, second):
        assert (await alice.state(chat, "m.room.encryption"))["algorithm"] == "m.megolm.v1.aes-sha2"
    assert await alice.state(scene.space, "m.room.encryption") is None


@pytest.mark.parametrize("version", ["12", "10"])
async def test_the_first_start_in_seeded_rooms_is_no_lost_database(fresh_homeserver, bot, version):
    """In the rooms of the blueprint `qa` the bot's first start loses nothing; without database and store it has."""
    server = await fresh_homeserver(extra={"default_room_version": version})
    seeded = await seed(server, load_blueprint("qa"))
    (account,) = (person for person in seeded.people if person.localpart == "bot")

    first = await bot(server=server, account=account)
    told_first = start_report(first)["position_lost"]
    await first.stop()
    second = await bot(server=server, account=account)  # in a folder of its own, so with neither database nor store

    assert counters(second) == {"recovered": 5, "skipped": 1}
    assert (told_first, start_report(second)["position_lost"]) == (False, True)
