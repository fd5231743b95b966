"""What commands do to a chat: its name, its being open or archived, its encryption, and what is said of all chats."""

from __future__ import annotations

import json

import pytest

from greenroom_bot.commands import LIST_MAX_BYTES
from greenroom_bot.rooms.identity import IDENTITY_TYPE
from greenroom_bot.rooms.titles import TITLE_MAX
from tests.bot.factory import ALICE
from tests.bot.test_commands import chats_made, told
from tests.bot.test_provisioning import made, provisioned

HIDDEN = "\u202e\u200f\u0007\u2066"


def archived(room):
    return room.state[IDENTITY_TYPE, ""]["content"]["archived"]


def listed(server, room_id):
    return bool(server.rooms["!space"].state["m.space.child", room_id]["content"])


# Titles


@pytest.mark.parametrize(
    ("typed", "title"),
    [(f"{HIDDEN}No{HIDDEN}tes", "Notes"), ("No\ud800tes", "No\ufffdtes")],
    ids=["hidden characters", "surrogate"],
)
async def test_typed_titles_are_clean_in_the_room_and_in_its_identity(server, start, chat, typed, title):
    """`!new` and `!rename` take no control characters, no direction marks and no lone surrogates."""
    await start().live()

    renamed, answer = await told(server, chat, f"!rename {typed}"), await told(server, chat, f"!new {typed}")

    (new,) = chats_made(server)
    assert renamed == f"C1 is now “{title}”."
    assert answer.startswith(f"Made C2 “{title}”")
    assert [room.state["m.room.name", ""]["content"]["name"] for room in (chat, new)] == [title] * 2
    assert new.state[IDENTITY_TYPE, ""]["content"]["title"] == title


async def test_a_title_with_nothing_visible_is_the_chats_default_name(server, start, chat):
    """A title of hidden characters alone is no title."""
    await start().live()

    assert await told(server, chat, f"!rename {HIDDEN}") == "C1 is now “Chat 1”."
    assert (await told(server, chat, f"!new {HIDDEN}")).startswith("Made C2 “Chat 2”")


@pytest.mark.parametrize("separator", ["\n", "\u2028", "\u0085", "\r"])
async def test_a_title_of_several_lines_is_refused_whatever_separates_them(server, start, chat, separator):
    """Every line separator makes a second line."""
    await start().live()

    assert await told(server, chat, f"!new two{separator}lines") == "A title is a single line."


async def test_a_name_set_in_a_client_is_cleaned_and_cut_and_then_in_step(server, start, chat):
    """A huge name with hidden characters gets into the records clean, `!chats` answers, and the next start is quiet."""
    chat.named(HIDDEN + "line\none " + "x" * 60_000)
    first = await start().live()
    answer = await told(server, chat, "!chats")
    await first.stop()

    second = await start().live()
    await second.stop()

    title = ("line one " + "x" * 200)[:TITLE_MAX]
    assert f"C1 “{title}” https" in answer
    assert second.row().title == title
    assert second.logged("matrix_reconcile_complete")[0]["outcomes"]["unchanged"] == 2


async def test_chats_lists_the_newest_that_fit_and_counts_the_rest(server, start, chat):
    """The answer to `!chats` fits an encrypted event, however many chats there are."""
    for number in range(2, 202):
        server.chat(f"!many{number}", chat_id=f"C{number}", request=f"$many{number}").named("é" * TITLE_MAX)
    await start().live()

    first, *lines = (await told(server, chat, "!chats")).splitlines()

    assert first == f"Your chats, and {201 - len(lines)} older ones:"
    assert [line.split()[0] for line in lines] == [f"C{number}" for number in range(202 - len(lines), 202)]
    assert LIST_MAX_BYTES - 1000 < len(json.dumps("\n".join(lines))) < LIST_MAX_BYTES


# Chat ids


async def test_a_chat_id_of_many_digits_stops_no_new_chat(server, start, chat):
    """A chat id that is too large for a number does not count; one that no event should hold is malformed."""
    server.chat("!ten", chat_id="C1000000000", request="$ten")
    server.chat("!nine", chat_id="C999999999", request="$nine")
    server.chat("!endless", chat_id="C" + "9" * 5000, request="$endless")
    run = await start().live()

    assert (await told(server, chat, "!new")).startswith("Made C1000000001 ")
    assert (await told(server, chat, "!new")).startswith("Made C1000000002 ")
    (drift,) = [line for line in run.logged("room_drifted") if line["room_id"] == "!endless"]
    assert drift["reason"] == "malformed_identity"
    assert len(drift["detail"]) < 100


async def test_a_command_that_fails_unexpectedly_says_so_once(server, start, chat, monkeypatch):
    """An exception in a command is logged and told in one answer, and the next command works."""
    monkeypatch.setattr("greenroom_bot.commands._line", lambda row: 1 / 0)
    run = await start().live()

    assert await told(server, chat, "!chats") == "Sorry, that failed. It is in my log."
    assert "This is C1" in await told(server, chat, "!status")
    assert len(chat.said()) == 2
    assert len(run.logged("command_failed")) == 1


async def test_an_invite_whose_rooms_cannot_be_made_is_answered_with_an_excuse(server, start, monkeypatch):
    """An exception while the bot makes a person's first rooms is logged and told."""
    monkeypatch.setattr("greenroom_bot.rooms.chats.create_body", lambda *_, **__: 1 / 0)
    run = await start().live()

    direct = await server.invite()
    await provisioned(server, direct)

    assert direct.said() == ["Sorry, that failed. It is in my log."]
    assert run.logged("command_failed")


# Archived and open again


async def test_an_archived_chat_takes_commands_and_says_so(server, start, chat):
    """What `!archive` announces is what the chat then does: commands are taken, messages are not answered."""
    await start().live()

    announced = await told(server, chat, "!archive")
    hint = await told(server, chat, "hello?")
    status = await told(server, chat, "!status")

    assert "I take only commands here" in announced
    assert "!restore" in announced
    assert hint == "C1 is archived. !restore opens it again, !new starts another chat."
    assert "This is C1 “Chat 1” (archived)." in status


@pytest.mark.parametrize(
    ("where", "words"), [("!chat", "!restore"), ("!other", "!restore c1"), ("!other", "!restore C1")]
)
async def test_restore_opens_an_archived_chat_in_it_or_from_elsewhere(server, start, chat, where, words):
    """`!restore` marks the chat as open, lists it in its Space, and messages are answered again."""
    server.chat("!other", chat_id="C2", request="$other")
    run = await start().live()
    await told(server, chat, "!archive")
    assert (archived(chat), listed(server, "!chat")) == (True, False)

    answer = await told(server, server.rooms[where], words)

    assert answer.startswith("C1 “Chat 1” is open again: https://matrix.to/#/!chat")
    assert (archived(chat), listed(server, "!chat")) == (False, True)
    assert await told(server, chat, "hello again") == "hello again"
    await run.stop()
    assert (run.row().archived, run.row().linked) == (False, True)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("!restore C7", "You have no chat C7. !chats lists what you have."),
        ("!restore", "Say !restore in the chat, or name it: !restore [C3]."),
    ],
)
async def test_restore_without_a_chat_helps(server, start, words, answer):
    """In a direct room `!restore` needs the chat's id."""
    await start().live()
    direct = await server.invite()
    await provisioned(server, direct)

    assert await told(server, direct, words) == answer


async def test_a_chat_that_is_restored_after_its_space_was_lost_is_listed_in_the_new_one(server, start, chat):
    """`!restore` uses the Space that the person has now."""
    server.rooms["!space"].member("@bot:hs1", "leave", by=ALICE)
    chat.identity(space_id="!space", archived=True)
    other = server.chat("!other", chat_id="C2", request="$other")
    await start().live()
    await told(server, other, "!new")

    await told(server, other, "!restore C1")

    (space,) = [room for room in made(server, "space") if room.room_id != "!space"]
    assert chat.state[IDENTITY_TYPE, ""]["content"]["space_id"] == space.room_id
    assert space.state["m.space.child", "!chat"]["content"]["via"]


@pytest.mark.parametrize("moment", ["PUT .*/dev.greenroom.chat", "PUT .*/m.space.child/", "PUT .*/send/"])
@pytest.mark.parametrize("command", ["!archive", "!restore"])
async def test_a_bot_killed_at_any_step_of_a_command_finishes_it(server, start, chat, command, moment, monkeypatch):
    """Archiving and restoring end whole after a crash: identity, Space and records agree."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0)
    closed = command == "!archive"
    if not closed:
        chat.identity(space_id="!space", archived=True)
        server.rooms["!space"].put("m.space.child", {}, key="!chat")
    gate = server.hold(moment)
    first = await start().live()
    await server.say(chat, command)
    await server.until(lambda: server.faults[0].times == 0, moment)
    await first.stop()
    gate.set()

    second = await start().live()
    await server.say(chat, "!help")  # handled after the command
    await server.until(lambda: len(chat.said()) >= 2, "both answers")
    await second.stop()

    assert (archived(chat), listed(server, "!chat")) == (closed, not closed)
    assert (second.row().archived, second.row().linked) == (closed, not closed)
    assert len(chat.said()) == 2


# Encryption


def is_encrypted(room):
    return ("m.room.encryption", "") in room.state


async def test_a_new_chat_inherits_the_encryption_of_the_room_that_it_was_asked_in(server, start, chat):
    """`!new` makes an encrypted chat in an encrypted room, and a plain one in a plain room."""
    server.chat("!secret", chat_id="C2", request="$secret").encrypted()
    await start().live()

    await server.say(server.rooms["!secret"], "!new Secret")
    await server.until(lambda: len(chats_made(server)) == 1)
    assert (await told(server, chat, "!new Plain")).startswith("Made C4")

    assert [is_encrypted(room) for room in chats_made(server)] == [True, False]


async def test_the_first_chat_of_an_encrypted_direct_room_is_encrypted(server, start):
    """The first chat is encrypted if the direct room is; the Space, in which nobody talks, is not."""
    await start().live()
    direct = server.room("!direct:hs1", creator=ALICE).encrypted()
    direct.member("@bot:hs1", "invite", by=ALICE, is_direct=True)
    await server.nudge()

    await server.until(lambda: len(made(server)) == 2)

    assert [is_encrypted(made(server, kind)[0]) for kind in ("chat", "space")] == [True, False]


async def test_a_repeated_new_of_an_encrypted_room_makes_an_encrypted_chat(server, start, chat, monkeypatch):
    """A bot killed before `createRoom` took effect makes the chat encrypted at the next start, too."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0)
    chat.encrypted()
    stopped = server.hold("GET /capabilities")
    first = await start().live()
    await server.say(chat, "!new Secret")
    await server.until(lambda: server.count("GET /capabilities"))
    await first.stop()
    stopped.set()

    await start().live()
    await server.until(lambda: chats_made(server))

    (new,) = chats_made(server)
    assert is_encrypted(new)
