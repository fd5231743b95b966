"""The reference bot on a real homeserver: what it promises to the people who use it."""

from __future__ import annotations

import nio
import pytest

from greenroom.checks import membership, message
from greenroom.errors import MatrixRefused
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.person import person_on
from greenroom.waiting import NotYet, until
from tests.e2e.scene import IDENTITY, ask, counters, finish, lose_database, lose_row, mapping, outcomes, set_up


async def test_an_invited_bot_makes_exactly_one_space_and_one_chat(person, bot):
    """The invite to a direct chat is all it takes; the chat is in the Space and carries its identity."""
    alice, greenroom = await person("alice"), await bot()

    scene = await set_up(alice, greenroom)

    assert await alice.joined_rooms() == {scene.direct, scene.space, scene.chat}
    assert await alice.state(scene.space, "m.space.child", scene.chat) == {"via": ["greenroom.test"]}
    assert (await alice.state(scene.chat, IDENTITY))["space_id"] == scene.space
    assert (await ask(alice, greenroom, scene.chat, "hello there")).body == "hello there"


async def test_a_second_direct_chat_makes_nothing_new(person, bot):
    """A person has one Space; inviting the bot again only says where it is."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)

    again = await alice.create_direct(greenroom.user_id)
    greeting = await alice.until(message(sender=greenroom.user_id, room=again), watch=[greenroom])

    assert "already" in greeting.body
    await alice.sync()
    assert alice.seen.invited == {}
    assert await alice.joined_rooms() == {scene.direct, scene.space, scene.chat, again}


async def test_a_normal_restart_changes_nothing(person, bot):
    """Same mapping, no new room, everything unchanged, and the bot answers as before."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    rooms, before = await alice.joined_rooms(), mapping(greenroom)

    assert await greenroom.stop() == 0
    await greenroom.start_again()

    assert counters(greenroom) == {"unchanged": 2, "skipped": 1}
    assert (await ask(alice, greenroom, scene.chat, "still there?")).body == "still there?"
    assert mapping(greenroom) == before
    assert await alice.joined_rooms() == rooms


async def test_a_lost_database_leads_to_the_same_mapping(person, bot):
    """Identity lives on the server: every chat is recovered, byte for byte, and nothing is created."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await ask(alice, greenroom, scene.chat, "!new Second chat", says="Made C2")
    rooms, before = await alice.joined_rooms(), mapping(greenroom)
    await greenroom.stop()

    lose_database(greenroom)
    await greenroom.start_again()

    assert counters(greenroom) == {"recovered": 3, "skipped": 1}
    assert mapping(greenroom) == before
    assert len(before) == 3
    assert await alice.joined_rooms() == rooms
    assert "database was lost" in (await ask(alice, greenroom, scene.chat, "!status")).body


async def test_a_message_sent_while_the_bot_was_down_is_answered_once(person, bot):
    """After the start it is answered, and so is the next; neither is answered twice, not even after one more start."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await greenroom.stop()

    await alice.send_text(scene.chat, "are you there?")
    await greenroom.start_again()
    await alice.until(message("are you there?", sender=greenroom.user_id, room=scene.chat), watch=[greenroom])
    await greenroom.restart()
    await ask(alice, greenroom, scene.chat, "and now?")

    answers = [m["content"]["body"] for m in await alice.messages(scene.chat) if m["sender"] == greenroom.user_id]
    assert answers == ["are you there?", "and now?"]


async def test_an_invite_that_came_while_the_bot_was_down_is_answered_after_the_start(person, bot):
    """Reconciliation reports it as pending and writes nothing; the live bot then answers it."""
    alice, greenroom = await person("alice"), await bot()
    await greenroom.stop()

    direct = await alice.create_direct(greenroom.user_id)
    await greenroom.start_again()

    assert counters(greenroom) == {"invite_pending": 1}
    await alice.until(message(sender=greenroom.user_id, room=direct, containing="Hello!"), watch=[greenroom])


async def test_an_unknown_room_is_recovered_at_runtime_and_then_answered(person, bot):
    """A row lost while running is rebuilt from the room itself by the first message in it."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    before = mapping(greenroom)

    await lose_row(alice, greenroom, scene.chat)
    answer = await ask(alice, greenroom, scene.chat, "do you know me?")

    assert answer.body == "do you know me?"
    assert mapping(greenroom) == before


async def test_an_unrecoverable_room_gets_one_diagnostic_and_the_bot_lives(person, homeserver, bot):
    """One message in the room, one warning in the log, then quiet; other chats go on."""
    account = await register(homeserver, unique_localpart("bot"))
    alice, greenroom = await person("alice"), await bot(account=account)
    scene = await set_up(alice, greenroom)
    await greenroom.stop()
    foreign = await alice.create_room(name="Not the bot's", invite=[greenroom.user_id])
    async with person_on(homeserver, account) as as_bot:
        await as_bot.join(foreign)
    await greenroom.start_again()

    said = await ask(alice, greenroom, foreign, "hello?")
    await alice.send_text(foreign, "hello??")
    await ask(alice, greenroom, scene.chat, "a later question")
    await finish(greenroom)

    assert "could not be restored automatically" in said.body
    assert len([m for m in await alice.messages(foreign) if m["sender"] == greenroom.user_id]) == 1
    (warning,) = greenroom.events("room_unresolved")
    assert (warning["room_id"], warning["user_id"]) == (foreign, alice.user_id)
    assert warning["report"]["reasons"] == {"not_ours": 1}


async def test_a_stranger_is_told_once_and_learns_nothing(person, bot):
    """Only the chat's owner is obeyed; whoever else is in the room gets one sentence and no answer."""
    alice, dave, greenroom = await person("alice"), await person("dave"), await bot()
    scene = await set_up(alice, greenroom)
    group = await dave.create_direct(greenroom.user_id)
    await dave.until(message(sender=greenroom.user_id, room=group))
    carol = await person("carol")
    await dave.invite(group, carol.user_id)
    await carol.join(group)

    first = await ask(carol, greenroom, group, "!chats")
    await carol.send_text(group, "!status")
    await ask(alice, greenroom, scene.chat, "a later question")
    await finish(greenroom)

    assert first.body == "I take orders in this room from its owner only."
    assert len([m for m in await carol.messages(group) if m["sender"] == greenroom.user_id]) == 2  # greeting, refusal


async def test_invites_from_strangers_and_to_group_rooms_are_declined(person, bot):
    """MATRIX_ALLOWED_USERS says who may use the bot; a room that is no direct chat is not joined."""
    alice = await person("alice")
    carol = await person("carol")
    greenroom = await bot(env={"MATRIX_ALLOWED_USERS": carol.user_id})

    refused = await alice.create_direct(greenroom.user_id)
    group = await carol.create_room(name="Everybody", invite=[greenroom.user_id])
    await alice.until(membership(greenroom.user_id, refused, "leave"), watch=[greenroom])
    await carol.until(membership(greenroom.user_id, group, "leave"), watch=[greenroom])

    assert {e["why"] for e in greenroom.events("invite_declined")} == {"not_allowed", "not_direct"}
    await carol.until(message(sender=greenroom.user_id, room=await carol.create_direct(greenroom.user_id)))


async def test_every_command_does_what_its_help_says(person, bot):
    """New, rename, archive, chats, status, help; unknown ones and bad arguments get a short answer."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)

    async def say(text: str, room: str = scene.chat) -> str:
        return (await ask(alice, greenroom, room, text)).body

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
    """Notices are what bots say; an edit is not a new message."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    original = await alice.send_text(scene.chat, "helo")
    await alice.until(message("helo", sender=greenroom.user_id, room=scene.chat))

    await alice.send_text(scene.chat, "from another bot", msgtype="m.notice")
    edit = {"rel_type": "m.replace", "event_id": original}
    new = {"msgtype": "m.text", "body": "hello"}
    await alice.send(
        scene.chat, "m.room.message", {**new, "body": "* hello", "m.new_content": new, "m.relates_to": edit}
    )
    await ask(alice, greenroom, scene.chat, "the end")

    said = [m["content"]["body"] for m in await alice.messages(scene.chat) if m["sender"] == greenroom.user_id]
    assert said == ["helo", "the end"]


async def test_the_owner_may_rename_but_not_touch_the_identity(person, bot):
    """What the room is stays with the bot: power 100 guards the identity event."""
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
    """Who did it and why is in the log; the person's chats are not affected."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    direct = await alice.create_room(is_direct=True, invite=[greenroom.user_id])  # the bot has no power here
    await alice.until(message(sender=greenroom.user_id, room=direct), watch=[greenroom])
    await greenroom.stop()

    await alice.kick(direct, greenroom.user_id, "tidying up")
    await greenroom.start_again()

    found = outcomes(greenroom)[direct]
    assert found["outcome"] == "left_offline"
    assert found["detail"] == f"kicked by {alice.user_id}: tidying up"
    assert (await ask(alice, greenroom, scene.chat, "still us?")).body == "still us?"


async def test_one_device_for_life(homeserver, bot):
    """Restarts, a lost database and a revoked session all end in the same device."""
    greenroom = await bot()
    (first,) = greenroom.events("logged_in")

    await greenroom.restart()
    (second,) = greenroom.events("logged_in")
    await greenroom.stop()
    lose_database(greenroom)
    await greenroom.start_again()
    (third,) = greenroom.events("logged_in")

    assert first["device_id"] == second["device_id"] == third["device_id"]
    client = nio.AsyncClient(homeserver.url, greenroom.user_id)
    try:
        await client.login(greenroom.env["MATRIX_PASSWORD"], device_name="count")
        devices = (await client.devices()).devices
    finally:
        await client.close()
    assert len([d for d in devices if d.display_name == "Greenroom bot"]) == 1


async def test_a_slow_answer_in_one_chat_holds_up_no_other_and_order_is_kept(person, bot, tmp_path):
    """C1's responder is held; C2 answers meanwhile; C1's own messages are answered one after the other."""
    alice, go_on = await person("alice"), tmp_path / "go on"
    slow = {"MATRIX_RESPONDER": "tests.e2e.slow_responder:make", "SLOW_CHAT": "C1", "SLOW_UNTIL": str(go_on)}
    greenroom = await bot(env=slow)
    scene = await set_up(alice, greenroom)
    await ask(alice, greenroom, scene.direct, "!new Quick", says="Made C2")
    (quick,) = await alice.join_invites()

    first = await alice.send_text(scene.chat, "slow one")
    await alice.send_text(scene.chat, "slow two")
    await ask(alice, greenroom, quick, "quick")
    go_on.touch()
    await alice.until(message("slow two", sender=greenroom.user_id, after=first), watch=[greenroom])

    said = [(e.room_id, e.body) for e in alice.seen.messages(after=first) if e.sender == greenroom.user_id]
    assert said == [(quick, "quick"), (scene.chat, "slow one"), (scene.chat, "slow two")]


async def test_more_messages_than_one_sync_holds_are_all_answered_in_order(person, bot):
    """The server cuts the timeline after 50 events; the gap is filled before anything is answered."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await greenroom.stop()

    texts = [f"message {n}" for n in range(70)]
    for text in texts:
        await alice.send_text(scene.chat, text)
    await greenroom.start_again()
    await alice.until(message(texts[-1], sender=greenroom.user_id, room=scene.chat), timeout_s=30, watch=[greenroom])

    answers = [m["content"]["body"] for m in await alice.messages(scene.chat, 200) if m["sender"] == greenroom.user_id]
    assert answers == texts


async def test_what_was_said_before_the_bot_came_is_not_answered(person, bot):
    """In a direct room the bot hears only what comes after its own join."""
    alice, greenroom = await person("alice"), await bot()
    await greenroom.stop()

    direct = await alice.create_direct(greenroom.user_id)
    await alice.send_text(direct, "!new From the past")
    await greenroom.start_again()
    await alice.until(message(sender=greenroom.user_id, room=direct, containing="Hello!"), watch=[greenroom])
    listed = await ask(alice, greenroom, direct, "!chats")

    assert "From the past" not in listed.body


async def test_the_health_file_is_there_exactly_while_the_bot_is_live(bot, tmp_path):
    """Touched at each sync, for a container's health check; gone after a stop, and not left over from a crash."""
    file = tmp_path / "healthy"
    greenroom = await bot(env={"MATRIX_HEALTH_FILE": str(file)})

    await until(lambda: file.exists() or NotYet("no file"), "the health file", watch=[greenroom])
    await greenroom.stop()

    assert not file.exists()
