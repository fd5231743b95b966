"""The reference bot on a real homeserver: what it promises to the people who use it."""

from __future__ import annotations

import asyncio
import re

import pytest

from greenroom import must
from greenroom.errors import MatrixRefused
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.person import person_on
from greenroom.waiting import until
from tests.e2e.scene import (
    IDENTITY,
    counters,
    devices,
    finish,
    lose_database,
    lose_row,
    mapping,
    outcomes,
    said,
    set_up,
)


async def test_an_invited_bot_makes_exactly_one_space_and_one_chat(person, bot):
    """A bot invited to a direct chat makes one Space and one chat in it, and the chat carries its identity."""
    alice, greenroom = await person("alice"), await bot()

    scene = await set_up(alice, greenroom)
    answer = await must.answer(alice, greenroom, scene.chat, "hello there")

    assert answer.body == "hello there"
    assert await alice.join_invites() == []
    assert await alice.joined_rooms() == {scene.direct, scene.space, scene.chat}
    assert await alice.state(scene.space, "m.space.child", scene.chat) == {"via": ["greenroom.test"]}
    assert (await alice.state(scene.chat, IDENTITY))["space_id"] == scene.space


async def test_a_second_direct_chat_makes_nothing_new(person, bot):
    """A bot that the same person invites again greets them without making a second Space or chat."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)

    again = await must.chat(alice, greenroom)
    greeting = await must.say(alice, greenroom, again)
    listed = await must.answer(alice, greenroom, again, "!chats")  # whatever the invite led to is over by now

    assert "already" in greeting.body
    assert re.findall(r"\bC\d+ ", listed.body) == ["C1 "]  # a link may hold "C2" too, and no space
    assert await alice.join_invites() == []
    assert await alice.joined_rooms() == {scene.direct, scene.space, scene.chat, again}


async def test_a_normal_restart_changes_nothing(person, bot):
    """A restarted bot finds all its rooms unchanged, makes none, and answers as before."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    rooms, before = await alice.joined_rooms(), mapping(greenroom)

    stopped = await greenroom.stop()
    await greenroom.start_again()
    answer = await must.answer(alice, greenroom, scene.chat, "still there?")

    assert stopped == 0
    assert counters(greenroom) == {"unchanged": 2, "skipped": 1}
    assert answer.body == "still there?"
    assert mapping(greenroom) == before
    assert await alice.join_invites() == []
    assert await alice.joined_rooms() == rooms


async def test_a_lost_database_leads_to_the_same_mapping(person, bot):
    """A bot without its database recovers every chat from the server, makes no room, and says what was lost."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await must.answer(alice, greenroom, scene.chat, "!new Second chat", containing="Made C2")
    (second,) = await alice.join_invites()
    rooms, before = await alice.joined_rooms(), mapping(greenroom)
    await greenroom.stop()

    lose_database(greenroom)
    await greenroom.start_again()
    status = await must.answer(alice, greenroom, scene.chat, "!status")

    assert counters(greenroom) == {"recovered": 3, "skipped": 1}
    assert mapping(greenroom) == before
    assert {room for room, *_ in before} == {scene.space, scene.chat, second}
    assert "database was lost" in status.body
    assert await alice.join_invites() == []
    assert await alice.joined_rooms() == rooms


async def test_a_message_sent_while_the_bot_was_down_is_answered_once(person, bot):
    """A message sent while the bot is down is answered after the start, and not again after one more start."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await greenroom.stop()

    await alice.send_text(scene.chat, "are you there?")
    await greenroom.start_again()
    await must.say(alice, greenroom, scene.chat, "are you there?")
    await greenroom.restart()
    await must.answer(alice, greenroom, scene.chat, "and now?")

    assert await said(alice, greenroom, scene.chat) == ["are you there?", "and now?"]


async def test_an_invite_that_came_while_the_bot_was_down_is_answered_after_the_start(person, bot):
    """Reconciliation reports an invite from before the start as pending; the live bot then accepts it."""
    alice, greenroom = await person("alice"), await bot()
    await greenroom.stop()

    direct = await alice.create_direct(greenroom.user_id)
    await greenroom.start_again()

    assert counters(greenroom) == {"invite_pending": 1}
    await must.say(alice, greenroom, direct, containing="Hello!")


async def test_an_unknown_room_is_recovered_at_runtime_and_then_answered(person, bot):
    """The first message in a room without a row restores the row from the server, and is answered."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    before = mapping(greenroom)

    await lose_row(alice, greenroom, scene.chat)
    answer = await must.answer(alice, greenroom, scene.chat, "do you know me?")

    assert answer.body == "do you know me?"
    assert mapping(greenroom) == before


async def test_an_unrecoverable_room_gets_one_diagnostic_and_the_bot_lives(person, homeserver, bot):
    """In a room that it cannot recover the bot says so once, logs one warning, and goes on in other chats."""
    account = await register(homeserver, unique_localpart("bot"))
    alice, greenroom = await person("alice"), await bot(account=account)
    scene = await set_up(alice, greenroom)
    await greenroom.stop()
    foreign = await alice.create_room(name="Not the bot's", invite=[greenroom.user_id])
    async with person_on(homeserver, account) as as_bot:
        await as_bot.join(foreign)
    await greenroom.start_again()

    await must.answer(alice, greenroom, foreign, "hello?")
    await alice.send_text(foreign, "hello??")
    await must.answer(alice, greenroom, scene.chat, "a later question", "a later question")
    await finish(greenroom)

    (diagnostic,) = await said(alice, greenroom, foreign)
    assert "could not be restored automatically" in diagnostic
    (warning,) = greenroom.events("room_unresolved")
    assert (warning["room_id"], warning["user_id"]) == (foreign, alice.user_id)
    assert warning["report"]["reasons"] == {"not_ours": 1}


async def test_a_stranger_is_told_once_and_learns_nothing(person, bot):
    """A stranger in somebody's chat gets one refusal from the bot and no other answer."""
    alice, dave, greenroom = await person("alice"), await person("dave"), await bot()
    scene = await set_up(alice, greenroom)
    group = await must.chat(dave, greenroom)
    greeting = await must.say(dave, greenroom, group)
    carol = await person("carol")
    await dave.invite(group, carol.user_id)
    await carol.join(group)

    refusal = await must.answer(carol, greenroom, group, "!chats")
    await carol.send_text(group, "!status")
    await must.answer(alice, greenroom, scene.chat, "a later question", "a later question")
    await finish(greenroom)

    assert refusal.body == "Only this room's owner can give me commands."
    assert await said(carol, greenroom, group) == [greeting.body, refusal.body]


async def test_invites_from_strangers_and_to_group_rooms_are_declined(person, bot):
    """The bot declines invites from people whom MATRIX_ALLOWED_USERS leaves out, and invites to group rooms."""
    alice = await person("alice")
    carol = await person("carol")
    greenroom = await bot(env={"MATRIX_ALLOWED_USERS": carol.user_id})

    refused = await alice.create_direct(greenroom.user_id)
    group = await carol.create_room(name="Everybody", invite=[greenroom.user_id])
    await must.leave(alice, greenroom, refused)
    await must.leave(carol, greenroom, group)
    await must.say(carol, greenroom, await must.chat(carol, greenroom))

    declined = {event["room_id"]: event["why"] for event in greenroom.events("invite_declined")}
    assert declined == {refused: "not_allowed", group: "not_direct"}


async def test_every_command_does_what_its_help_says(person, bot):
    """Each command does what `!help` says of it; unknown commands and bad arguments get a short answer."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)

    async def say(text: str, room: str = scene.chat) -> str:
        return (await must.answer(alice, greenroom, room, text)).body or ""

    assert "!archive" in await say("!help")
    assert "Made C2 “Shopping list”" in await say("!new Shopping list", scene.direct)
    (second,) = await alice.join_invites()
    assert await say("!rename Groceries", second) == "C2 is now “Groceries”."
    assert (await alice.state(second, "m.room.name"))["name"] == "Groceries"
    assert "C2 is archived" in await say("!archive", second)
    assert (await alice.state(second, IDENTITY))["archived"] is True
    assert await alice.state(scene.space, "m.space.child", second) == {}
    assert "C2 “Groceries” (archived)" in await say("!chats")
    assert "This is C1" in await say("!status")
    assert "!help lists what I know" in await say("!dance")
    assert await say("!rename") == "Usage: !rename TITLE"
    assert "chat that you want to rename" in await say("!rename Elsewhere", scene.direct)
    assert "!chats lists them" in await say("hello", scene.direct)
    assert "C2 is archived" in await say("hello", second)


async def test_notices_and_edits_are_not_answered(person, bot):
    """The bot answers neither notices, which other bots send, nor edits of earlier messages."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    original = await alice.send_text(scene.chat, "helo")
    await must.say(alice, greenroom, scene.chat, "helo")

    await alice.send_text(scene.chat, "from another bot", msgtype="m.notice")
    await alice.edit(scene.chat, original, "hello")
    await must.answer(alice, greenroom, scene.chat, "the end")

    assert await said(alice, greenroom, scene.chat) == ["helo", "the end"]


async def test_the_owner_may_rename_but_not_touch_the_identity(person, bot):
    """A chat's owner can rename it, but only the bot has the power to change its identity event."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)

    await alice.rename(scene.chat, "My chat")
    with pytest.raises(MatrixRefused, match="M_FORBIDDEN"):
        await alice.set_state(scene.chat, IDENTITY, {"v": 1, "kind": "chat", "owner": "@eve:greenroom.test"})
    await greenroom.stop()
    await alice.rename(scene.chat, "My renamed chat")
    await greenroom.start_again()

    assert outcomes(greenroom)[scene.chat]["outcome"] == "renamed"


async def test_a_direct_room_that_the_bot_was_kicked_from_while_down_is_reported(person, bot):
    """A kick from a direct room while the bot is down is logged with its author and reason; the chats go on."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    direct = await alice.create_room(is_direct=True, invite=[greenroom.user_id])  # the bot has no power here
    await must.say(alice, greenroom, direct)
    await greenroom.stop()

    await alice.kick(direct, greenroom.user_id, "tidying up")
    await greenroom.start_again()
    answer = await must.answer(alice, greenroom, scene.chat, "still us?")

    found = outcomes(greenroom)[direct]
    assert found["outcome"] == "left_offline"
    assert found["detail"] == f"kicked by {alice.user_id}: tidying up"
    assert answer.body == "still us?"


async def test_one_device_for_life(bot):
    """The bot keeps one device through a restart and through the loss of its database."""
    greenroom = await bot()
    (first,) = greenroom.events("logged_in")

    await greenroom.restart()
    (second,) = greenroom.events("logged_in")
    await greenroom.stop()
    lose_database(greenroom)
    await greenroom.start_again()
    (third,) = greenroom.events("logged_in")

    assert first["device_id"] == second["device_id"] == third["device_id"]
    found = [device for device, name in (await devices(greenroom)).items() if name == "Greenroom bot"]
    assert found == [first["device_id"]]


async def test_a_slow_answer_in_one_chat_holds_up_no_other_and_order_is_kept(person, bot, tmp_path):
    """While one chat waits for its answer another chat is answered; within a chat answers keep their order."""
    alice, go_on = await person("alice"), tmp_path / "go on"
    slow = {"MATRIX_RESPONDER": "tests.e2e.slow_responder:make", "SLOW_CHAT": "C1", "SLOW_UNTIL": str(go_on)}
    greenroom = await bot(env=slow)
    scene = await set_up(alice, greenroom)
    await must.answer(alice, greenroom, scene.direct, "!new Quick", containing="Made C2")
    (quick,) = await alice.join_invites()

    first = await alice.send_text(scene.chat, "slow one")
    await alice.send_text(scene.chat, "slow two")
    await must.answer(alice, greenroom, quick, "quick")
    go_on.touch()
    await must.say(alice, greenroom, scene.chat, "slow two", after=first)

    answers = [(e.room_id, e.body) for e in alice.seen.messages(after=first) if e.sender == greenroom.user_id]
    assert answers == [(quick, "quick"), (scene.chat, "slow one"), (scene.chat, "slow two")]


async def test_more_messages_than_one_sync_holds_are_all_answered_in_order(person, bot):
    """A sync holds the last 50 messages of a room; the bot fetches the missing ones and answers all in order."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await greenroom.stop()

    texts = [f"message {n}" for n in range(70)]
    for text in texts:
        await alice.send_text(scene.chat, text)
    await greenroom.start_again()
    await must.say(alice, greenroom, scene.chat, texts[-1], timeout_s=30)

    assert await said(alice, greenroom, scene.chat, 200) == texts


async def test_what_was_said_before_the_bot_came_is_not_answered(person, bot):
    """In a direct room the bot obeys only what is said after it joined."""
    alice, greenroom = await person("alice"), await bot()
    await greenroom.stop()

    direct = await alice.create_direct(greenroom.user_id)
    await alice.send_text(direct, "!new From the past")
    await greenroom.start_again()
    await must.say(alice, greenroom, direct, containing="Hello!")
    listed = await must.answer(alice, greenroom, direct, "!chats")

    assert "C1" in listed.body
    assert "From the past" not in listed.body


async def test_the_health_file_is_there_exactly_while_the_bot_is_live(bot, faults, tmp_path):
    """The bot makes the health file when it is live, and deletes it when it stops or starts after a crash."""
    file = tmp_path / "healthy"
    greenroom = await bot(env={"MATRIX_HEALTH_FILE": str(file)}, through=faults)

    await until(file.exists, "the health file", watch=[greenroom])
    await greenroom.kill()
    left_by_crash = file.exists()
    with faults.stall(path="/sync") as stalled:
        starting = asyncio.ensure_future(greenroom.start_again())
        await stalled.until_hit()
        while_starting = file.exists()
    await starting
    await until(file.exists, "the health file", watch=[greenroom])
    await greenroom.stop()

    assert left_by_crash
    assert not while_starting
    assert not file.exists()
