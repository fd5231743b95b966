"""The commands of an owner, in a chat and in the direct room."""

from __future__ import annotations

import pytest

from greenroom_bot.commands import COMMANDS, TITLE_MAX, is_command, link
from greenroom_bot.rooms.identity import IDENTITY_TYPE
from tests.bot.factory import ALICE, CAROL, ME


@pytest.fixture
async def chat(server, start):
    """Alice's chat with a live bot in it."""
    server.space("!chat")
    room = server.chat()
    await start().live()
    return room


async def told(server, room, words):
    """Write a message and return the bot's answer."""
    before = len(room.said())
    await server.say(room, words)
    await server.until(lambda: len(room.said()) > before, f"an answer to {words}")
    return room.said()[-1]


def chats_made(server):
    return [r for r in server.rooms.values() if r.room_id.startswith("!made")]


async def test_help_lists_every_command(server, chat):
    """`!help` lists the usage of every command."""
    answer = await told(server, chat, "!help")

    assert all(command.usage in answer for command in COMMANDS.values())
    assert set(COMMANDS) == {"help", "new", "rename", "archive", "restore", "chats", "status"}


async def test_new_makes_one_more_chat_in_the_space(server, chat):
    """`!new TITLE` makes a chat with the next number and that title, in the Space, with its owner invited."""
    answer = await told(server, chat, "!new Shopping list")

    (room,) = chats_made(server)
    identity = room.state[IDENTITY_TYPE, ""]["content"]
    assert (identity["chat_id"], identity["title"], identity["owner"]) == ("C2", "Shopping list", ALICE)
    assert room.state["m.room.name", ""]["content"]["name"] == "Shopping list"
    assert room.membership(ALICE) == "invite"
    assert server.rooms["!space"].state["m.space.child", room.room_id]["content"]["via"]
    assert "C2" in answer
    assert room.room_id in answer


async def test_new_without_a_title_names_the_chat_by_its_number(server, chat):
    """`!new` without a title names the chat after its number."""
    assert "Chat 2" in await told(server, chat, "!new")


async def test_the_same_new_handled_twice_makes_one_chat(server, chat, start):
    """If the answer to `createRoom` is lost, `!new` finds the room by the request in its identity."""
    server.fail("POST /createRoom", None, after=True)

    await told(server, chat, "!new")

    assert len(chats_made(server)) == 1
    assert server.count("POST /createRoom") == 1


async def test_two_new_chats_have_two_numbers(server, chat):
    """Two `!new` in a row make two chats with two numbers."""
    await server.say(chat, "!new")
    await server.say(chat, "!new")
    await server.until(lambda: len(chat.said()) == 2)

    ids = [room.state[IDENTITY_TYPE, ""]["content"]["chat_id"] for room in chats_made(server)]
    assert ids == ["C2", "C3"]


async def test_rename_sets_the_rooms_name(server, chat):
    """`!rename TITLE` sets the room's name."""
    assert await told(server, chat, "!rename  Plans for May ") == "C1 is now “Plans for May”."

    assert chat.state["m.room.name", ""]["content"] == {"name": "Plans for May"}


async def test_archive_closes_the_chat_and_takes_it_off_the_space(server, chat):
    """`!archive` sets the flag in the identity, takes the chat off the Space, and leaves the room as it is."""
    answer = await told(server, chat, "!archive")

    assert chat.state[IDENTITY_TYPE, ""]["content"]["archived"] is True
    assert server.rooms["!space"].state["m.space.child", "!chat"]["content"] == {}
    assert "archived" in answer
    assert chat.membership() == "join"


async def test_an_archived_chat_says_so_once_and_still_obeys(server, chat):
    """An archived chat answers messages once with a hint, and goes on obeying commands."""
    await told(server, chat, "!archive")
    await server.say(chat, "hello?")
    await server.say(chat, "hello??")
    answer = await told(server, chat, "!archive")

    assert len([said for said in chat.said() if "!new starts another chat" in said]) == 1
    assert "is archived" in answer


async def test_chats_lists_what_the_owner_has(server, chat):
    """`!chats` lists the owner's chats with state and link."""
    await told(server, chat, "!new Second")
    await told(server, chat, "!archive")

    lines = (await told(server, chat, "!chats")).splitlines()

    assert lines[1] == f"C1 “Chat 1” (archived) {link('!chat', ALICE)}"
    assert lines[2].startswith("C2 “Second” https://matrix.to/#/!made")


async def test_status_says_where_and_how_the_bot_is(server, chat):
    """`!status` names this chat, the number of chats, the bot's account and its device."""
    answer = await told(server, chat, "!status")

    assert "This is C1 “Chat 1”." in answer
    assert "You have 1 chat with me." in answer
    assert f"I am {ME}, device GREENROOM" in answer


async def test_status_reveals_nothing_of_other_people(server, chat):
    """`!status` and `!chats` show nothing of another person's chats."""
    server.chat("!carols", owner=CAROL, chat_id="C1", request="$carols").named("Secret")
    await server.nudge()

    answer = await told(server, chat, "!status") + await told(server, chat, "!chats")

    assert "Secret" not in answer
    assert "!carols" not in answer


async def test_commands_work_in_the_direct_room(server, start):
    """In the direct room commands work, and those that need a chat say so."""
    await start().live()
    direct = await server.invite()
    await server.until(lambda: direct.said())

    assert "C1" in await told(server, direct, "!chats")
    assert "C2" in await told(server, direct, "!new")
    assert await told(server, direct, "!rename x") == "Say !rename in the chat that you want to rename."
    assert await told(server, direct, "!archive") == "Say !archive in the chat that you want to archive."
    assert "You have 2 chats" in await told(server, direct, "!status")
    assert "Write to me in one of your chats" in await told(server, direct, "hello")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("!nwe", "I do not know !nwe. !help lists what I know."),
        ("!" + "x" * 300, f"I do not know !{'x' * 40}. !help lists what I know."),
        ("!rename", "Usage: !rename TITLE"),
        ("!rename " + "x" * 121, f"A title may have {TITLE_MAX} characters, this one has 121."),
        ("!new " + "x" * 121, f"A title may have {TITLE_MAX} characters, this one has 121."),
        ("!new two\nlines", "A title is a single line."),
        ("!archive now", "Usage: !archive, in the chat itself"),
    ],
    ids=["unknown", "long unknown", "no title", "long title", "long new title", "two lines", "stray argument"],
)
async def test_mistakes_get_a_short_helpful_answer(server, chat, words, answer):
    """A wrong command or argument gets a short answer that helps, and changes nothing."""
    assert await told(server, chat, words) == answer

    assert chats_made(server) == []
    assert chat.state["m.room.name", ""]["content"] == {"name": "Chat 1"}


async def test_commands_are_read_without_regard_to_case_and_line_ends(server, chat):
    """Commands may be in capitals, and their argument may come on the next line."""
    assert (await told(server, chat, "!HELP")).startswith("I keep one room per chat")
    assert (await told(server, chat, "!Help\n")).startswith("I keep one room per chat")
    assert await told(server, chat, "!rename\nNew title") == "C1 is now “New title”."


@pytest.mark.parametrize(
    ("body", "meant"), [("!help", True), ("!", False), ("!!", False), ("! help", False), ("help", False), ("!1", False)]
)
def test_a_command_is_an_exclamation_mark_with_a_word_behind_it(body, meant):
    """Only an exclamation mark with a letter right behind it makes a command."""
    assert is_command(body) is meant


async def test_a_command_that_the_server_refuses_is_answered_with_the_reason(server, chat):
    """If the homeserver refuses a command, the bot answers with its reason."""
    server.fail("PUT .*/m.room.name", 403, {"errcode": "M_FORBIDDEN", "error": "You don't have permission"})

    assert await told(server, chat, "!rename x") == "The homeserver refused that: You don't have permission"


async def test_an_orphaned_space_is_offered_again(server, start):
    """If an owner who left their Space asks for a new chat, the bot invites them back and makes no second Space."""
    server.space("!chat").member(ALICE, "leave")
    chat = server.chat()
    await start().live()

    await told(server, chat, "!new")

    assert server.rooms["!space"].membership(ALICE) == "invite"
    assert len(chats_made(server)) == 1
