"""A message in a room that no row routes: the bot looks at the room once, and either answers or says once why not."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import replace

import pytest

from greenroom_bot.app import UNRESOLVED_TEXT, MatrixBot
from greenroom_bot.config import Config
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.reconcile import resolve_chat_id
from greenroom_bot.rooms.store import SQLiteStore
from tests.bot.factory import ALICE, CAROL, CHAT, CHAT_ROW, ME, text


@pytest.fixture
async def late(server, start):
    """A live bot, and a chat of Alice's that was made after the bot started."""
    server.space("!chat")
    run = await start().live()
    chat = server.chat()
    return run, chat


def test_a_room_without_a_row_resolves_to_unregistered(tmp_path):
    """A room without a row resolves to `unregistered:` and its id, never to a chat id that is made up."""
    store = SQLiteStore(tmp_path / "bot.db")
    assert resolve_chat_id(store, CHAT, ALICE) == "unregistered:!chat"

    store.write_rooms([CHAT_ROW])

    assert resolve_chat_id(store, CHAT, ALICE) == "C1"
    store.close()


@pytest.mark.parametrize(
    ("status", "routed"), [("active", True), ("powerless", True), ("left", False), ("conflict", False)]
)
def test_a_row_of_a_left_or_disputed_room_routes_nothing(tmp_path, status, routed):
    """A row routes messages unless the room is left or in conflict, so two rooms never lead to one chat."""
    store = SQLiteStore(tmp_path / "bot.db")
    store.write_rooms([replace(CHAT_ROW, status=status)])

    assert (resolve_chat_id(store, CHAT, ALICE) == "C1") is routed
    store.close()


async def test_an_unknown_room_is_recovered_and_then_answered(server, late):
    """The first message in an unknown room of ours brings its row back, and is answered."""
    run, chat = late

    await server.say(chat, "hello")
    await server.until(lambda: chat.said())
    await run.stop()

    assert chat.said() == ["hello"]
    store = run.store()
    assert store.room("!chat").chat_id == "C1"
    store.close()


async def test_a_failing_look_at_the_room_is_repeated(server, late):
    """If the room's state fails to load, the message waits and the bot tries again without a diagnostic."""
    _, chat = late
    server.fail("GET /rooms/!chat/state", 502, times=3)

    await server.say(chat, "hello")
    await server.until(lambda: chat.said())

    assert chat.said() == ["hello"]


async def test_a_direct_room_without_its_row_is_recovered_too(server, start):
    """A direct room that lost its row is known again by `m.direct`, and its person is obeyed."""
    run = await start().live()
    direct = await server.invite()
    await server.until(lambda: direct.said())
    with contextlib.closing(sqlite3.connect(run.config.db_path, isolation_level=None)) as db:
        db.execute("DELETE FROM rooms WHERE room_id = ?", (direct.room_id,))

    await server.say(direct, "!chats")
    await server.until(lambda: len(direct.said()) == 2)

    assert "C1" in direct.said()[1]


async def test_events_at_the_same_time_share_one_attempt(server, late):
    """Several messages at once in an unknown room cause one reconciliation, and all are answered."""
    _, chat = late
    for number in range(5):
        server.append(chat, text(f"m{number}"))

    await server.nudge()
    await server.until(lambda: len(chat.said()) == 5)

    assert chat.said() == [f"m{n}" for n in range(5)]
    assert server.count("GET /rooms/!chat/state") == 1


async def test_two_callers_at_once_wait_on_the_same_attempt(server, client, tmp_path):
    """Callers that ask for the same room at once share one reconciliation and its report."""
    store = SQLiteStore(tmp_path / "bot.db")
    config = Config(homeserver=server.url, user_id=ME, password="x", db_path=store.path, store_path=tmp_path)
    bot = MatrixBot(client, store, ChatManager(client, store), lambda q: None, config)
    server.chat()

    reports = await asyncio.gather(*(bot._recover(CHAT, ALICE) for _ in range(4)))

    assert server.count("GET /rooms/!chat/state") == 1
    assert all(report["outcomes"]["recovered"] == 1 for report in reports)
    store.close()


async def test_a_room_that_stays_unknown_gets_one_diagnostic_and_one_warning(server, late):
    """A room that stays unknown gets one diagnostic and one warning, no room is made, and other chats go on."""
    run, chat = late
    stray = server.room("!stray:hs1", creator=CAROL)
    stray.member(ME, "join")

    for word in ("hello?", "anybody?", "!help"):
        await server.say(stray, word, CAROL)
    await server.say(chat, "last")
    await server.until(lambda: chat.said() and run.logged("room_unresolved"))

    assert stray.said() == [UNRESOLVED_TEXT]
    (warning,) = run.logged("room_unresolved")
    assert (warning["room_id"], warning["user_id"]) == ("!stray:hs1", CAROL)
    assert server.count("createRoom") == 0


async def test_the_diagnostic_survives_a_restart_without_being_repeated(server, late, start):
    """After a restart the bot does not repeat the diagnostic in a room that has not changed."""
    run, chat = late
    stray = server.room("!stray:hs1", creator=CAROL)
    stray.member(ME, "join")
    await server.say(stray, "hello?", CAROL)
    await server.until(lambda: stray.said())
    await run.stop()

    await start().live()
    await server.say(stray, "still there?", CAROL)
    await server.say(chat, "last")
    await server.until(lambda: chat.said())

    assert stray.said() == [UNRESOLVED_TEXT]


async def test_a_change_in_the_room_ends_the_quiet(server, late):
    """When the state of an unknown room changes, the next message makes the bot look again."""
    _, _ = late
    stray = server.room("!stray", creator=ME)
    await server.say(stray, "hello?")
    await server.until(lambda: stray.said())

    stray.member(ALICE, "join").named("Stray").identity(chat_id="C2", request="$stray")
    await server.nudge()
    await server.until(lambda: server.count("GET /rooms/!stray/state") == 2)
    await server.say(stray, "and now?")
    await server.until(lambda: len(stray.said()) == 2)

    assert stray.said() == [UNRESOLVED_TEXT, "and now?"]


async def test_a_change_that_explains_nothing_does_not_end_the_quiet(server, late):
    """People who come and go in an unknown room do not make the bot repeat itself."""
    _, chat = late
    stray = server.room("!stray", creator=ME)
    await server.say(stray, "hello?", CAROL)
    await server.until(stray.said)

    for number in range(5):
        looks = server.count("GET /rooms/!stray/state")
        stray.member(CAROL, "leave" if number % 2 else "join")
        await server.nudge()
        await server.until(lambda: server.count("GET /rooms/!stray/state") > looks)  # noqa: B023 - called at once
        await server.say(stray, "hello?", CAROL)
    await server.say(chat, "last")
    await server.until(chat.said)

    assert stray.said() == [UNRESOLVED_TEXT]


async def test_a_change_that_could_not_be_looked_at_makes_the_next_message_look(server, late):
    """The change may have made the room known."""
    stray = server.room("!stray", creator=ME)
    await server.say(stray, "hello?")
    await server.until(lambda: stray.said())

    server.fail("GET /rooms/!stray/state", 403, {"errcode": "M_FORBIDDEN", "error": "no"})
    stray.member(ALICE, "join").named("Stray").identity(chat_id="C2", request="$stray")
    await server.nudge()
    await server.until(lambda: server.count("GET /rooms/!stray/state") == 2)
    await server.say(stray, "and now?")
    await server.until(lambda: len(stray.said()) == 2)

    assert stray.said() == [UNRESOLVED_TEXT, "and now?"]


async def test_a_room_of_another_instance_is_left_to_it_in_silence(server, late):
    """The bot says nothing in a room of another instance, which answers there."""
    run, chat = late
    theirs = server.chat("!theirs", instance="staging")

    await server.say(theirs, "hello")
    await server.say(chat, "last")
    await server.until(lambda: chat.said())

    assert theirs.said() == []
    assert not run.logged("room_unresolved")


async def test_a_forged_room_is_not_routed_and_the_victims_chat_works_on(server, late):
    """A room with a forged identity gets a diagnostic and no answers, and the victim's chat goes on."""
    run, chat = late
    await server.say(chat, "before")
    trap = server.room("!trap", creator=CAROL, ts=1)
    trap.member(ME, "join").identity(by=CAROL)

    await server.say(trap, "!chats", CAROL)
    await server.until(lambda: trap.said())
    await server.say(chat, "after")
    await server.until(lambda: "after" in chat.said())

    assert trap.said() == [UNRESOLVED_TEXT]
    assert chat.said() == ["before", "after"]
    assert run.logged("room_unresolved")[0]["report"]["reasons"] == {"forged_identity": 1}


async def test_a_room_whose_state_cannot_be_fetched_is_unknown_and_no_exception(server, late):
    """A room whose state is refused is reported as `fetch_failed`, and the handler raises nothing."""
    run, chat = late
    server.fail("GET /rooms/!chat/state", 403, {"errcode": "M_FORBIDDEN", "error": "no"})

    await server.say(chat, "hello")
    await server.until(chat.said)  # logged before it is said

    assert chat.said() == [UNRESOLVED_TEXT]
    assert run.logged("room_unresolved")[0]["report"]["reasons"] == {"fetch_failed": 1}
    assert not run.logged("message_failed")
