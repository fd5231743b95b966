"""The live bot when it is stopped, and when the homeserver or the answering service fails."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import time

import pytest

from greenroom_bot.matrix.errors import SessionOver
from greenroom_bot.matrix.retry import BLAME_ATTEMPTS, BLAME_ROUNDS
from greenroom_bot.messenger import Messenger
from tests.bot.factory import ALICE, CAROL, ME, event, text

# Stopping


async def test_stopping_lets_the_work_in_hand_finish(server, start, chat):
    """SIGTERM drains."""
    run = await start().live()
    gate = server.hold("PUT .*/send/")
    await server.say(chat, "hello")
    await server.until(lambda: chat.said())

    stopping = asyncio.create_task(run.stop())
    gate.set()
    await stopping
    store = run.store()
    handled = store.was_handled(next(e["event_id"] for _, e in chat.history if e["content"].get("body") == "hello"))
    store.close()

    assert handled
    assert run.logged("matrix_stopped")[0]["undone"] == 0


async def test_a_stop_that_cannot_wait_any_longer_says_what_is_undone(server, start, chat, monkeypatch):
    """It is done after the next start."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0.05)
    run = await start().live()
    gate = server.hold("PUT .*/send/")
    await server.say(chat, "hello")
    await server.until(lambda: chat.said())

    await run.stop()
    gate.set()

    assert run.logged("matrix_stopped")[0]["undone"] == 1


async def test_a_hundred_slow_rooms_delay_no_stop_and_each_is_answered_once(server, start, monkeypatch):
    """Half of them may answer while the bot drains. The others are cut off, and answered after the next start."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 1.0)
    server.space()
    chats = [server.chat(f"!chat{n}", chat_id=f"C{n}", request=f"$r{n}") for n in range(100)]
    run = await start(responder=f"{__name__}:make_slow").live()
    SLOW.clear()
    for chat in chats:
        server.append(chat, text("hello"))
    await server.nudge()
    await server.until(lambda: len(SLOW) == len(chats), "all questions to be asked")

    stopping = asyncio.create_task(run.stop())
    began = time.monotonic()
    await asyncio.sleep(0)
    for gate in SLOW[::2]:
        gate.set()
    await stopping
    took_s = time.monotonic() - began
    assert run.logged("matrix_stopped")[0]["undone"] >= 50  # how many of the others are done in time is the machine's
    assert sum(not chat.said() for chat in chats) >= 50
    await start().live()
    await server.until(lambda: all(chat.said() for chat in chats))
    await server.say(chats[0], "last")
    await server.until(lambda: "last" in chats[0].said())

    assert took_s < 5
    assert [chat.said() for chat in chats] == [["hello", "last"]] + [["hello"]] * 99


SLOW = []
"""The gates of the questions that `make_slow` was asked."""


def make_slow():
    async def respond(question):
        SLOW.append(asyncio.Event())
        await SLOW[-1].wait()
        return question.body

    return respond


@pytest.mark.parametrize("sync_fails_first", [False, True])
async def test_a_session_that_ends_in_several_places_at_once_is_one_error(server, start, chat, sync_fails_first):
    """Two rooms and the sync meet the dead token one after the other: the bot ends with SessionOver, drained once."""
    other = server.chat("!other", chat_id="C2", request="$other")
    run = await start().live()
    gate = asyncio.Event()
    server.when("PUT .*/send/", gate.wait, times=2)
    await server.say(chat, "hello")
    await server.say(other, "hello")
    await server.until(lambda: server.count("PUT .*/send/") == 2)

    server.devices.clear()
    if sync_fails_first:
        before = server.count("GET /sync")
        await server.say(chat, "more")  # ends the long poll, and the next one is refused
        await server.until(lambda: server.count("GET /sync") > before)
    gate.set()
    ended = await run.ended()

    assert isinstance(ended, SessionOver)
    assert len(run.logged("matrix_stopped")) == 1


# What the homeserver or a service will not do


def raising(error):
    async def fail():
        raise error()

    return fail


class Own(BaseException):
    """An error outside `Exception`."""


ODD = {
    "exception": raising(RuntimeError),
    "cancelled": raising(asyncio.CancelledError),
    "sys.exit": raising(SystemExit),
    "ctrl-c": raising(KeyboardInterrupt),
    "own": raising(Own),
    "group": raising(lambda: BaseExceptionGroup("several", [SystemExit()])),
    "thread": lambda: asyncio.to_thread(sys.exit),
    "number": lambda: 42,
    "bytes": lambda: b"hello",
    "dictionary": lambda: {"answer": "hello"},
    "list": lambda: ["hello"],
}


def make_odd():
    async def respond(question):
        answer = ODD.get(question.body, lambda: question.body)()
        return await answer if inspect.isawaitable(answer) else answer

    return respond


@pytest.mark.parametrize("odd", ODD)
async def test_whatever_a_responder_raises_or_returns_is_told_and_ends_nothing(server, start, chat, odd):
    """The person gets a short apology, the log the reason, and the next message its answer."""
    run = await start(responder=f"{__name__}:make_odd").live()

    await server.say(chat, odd)
    await server.say(chat, "fine")
    await server.until(lambda: "fine" in chat.said() or run.task.done())

    assert chat.said() == ["Sorry, answering this failed. It is in my log.", "fine"]
    assert run.logged("responder_failed")


async def test_an_answer_that_is_too_long_is_told(server, start, chat):
    """Not dropped in silence."""
    server.fail("PUT .*/send/", 413, {"errcode": "M_TOO_LARGE", "error": "event too large"})
    await start().live()

    await server.say(chat, "tell me everything")
    await server.until(lambda: chat.said())

    assert chat.said() == ["My answer is too long for one message."]


async def test_undecryptable_messages_that_arrive_together_wait_together(server, start, chat, monkeypatch):
    """Their time counts from their arrival; the room is not blocked for a time after each."""
    monkeypatch.setitem(Messenger.__init__.__kwdefaults__, "key_wait_s", 0.5)
    run = await start().live()
    began = time.monotonic()

    for number in range(8):
        content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "device_id": "D", "sender_key": "k"}
        server.append(chat, event("m.room.encrypted", {**content, "session_id": f"s{number}"}, sender=ALICE))
    await server.say(chat, "last")
    await server.until(lambda: "last" in chat.said())

    assert len(run.logged("message_undecryptable")) == 8
    assert 0.5 < time.monotonic() - began < 2


@pytest.mark.parametrize("step", ["PUT /rooms/!chat/send/", "GET /rooms/!chat/joined_members"])
async def test_a_room_in_which_sending_always_fails_holds_up_no_other_and_no_position(server, start, chat, step):
    """The answer is given up and logged, the message counts as handled, and the next start does not try again.

    The second case fails while the keys are shared.
    """
    if "joined_members" in step:
        chat.encrypted()
    other = server.chat("!other", chat_id="C2", request="$other")
    server.fail(step, 500, {"errcode": "M_UNKNOWN", "error": "Internal server error"}, times=10**6)
    run = await start().live()

    await server.say(chat, "hello")
    await server.say(other, "hello")
    asked = server._now
    await server.until(lambda: run.logged("send_failed"))
    await run.stop()

    assert other.said() == ["hello"]
    assert run.logged("send_failed")[0]["room_id"] == "!chat"
    assert not run.logged("send_refused")
    with contextlib.closing(run.store()) as store:
        assert int(store.position[1:]) >= asked


@pytest.mark.parametrize(
    ("command", "step"),
    [("!new", "POST /createRoom"), ("!rename x", "PUT /rooms/!chat/state"), ("!archive", "PUT /rooms/!chat/state")],
)
async def test_a_command_that_always_fails_holds_up_no_other_room_and_no_position(server, start, chat, command, step):
    """It is given up after some minutes, the person is told, and the next start does not try again."""
    other = server.chat("!other", chat_id="C2", request="$other")
    server.fail(step, 500, {"errcode": "M_UNKNOWN", "error": "Internal server error"}, times=10**6)
    run = await start().live()

    await server.say(chat, command)
    await server.say(other, "hello")
    asked = server._now
    await server.until(lambda: chat.said())
    await run.stop()

    assert other.said() == ["hello"]
    assert chat.said() == ["The homeserver refused that: Internal server error"]
    with contextlib.closing(run.store()) as store:
        assert int(store.position[1:]) >= asked


async def test_an_answer_waits_for_a_homeserver_that_fails_altogether(server, start, chat):
    """However long it takes: a homeserver that answers nothing says nothing about the room."""
    run = await start().live()
    faults = [server.fail(step, 502, times=10**6) for step in ("PUT .*/send/", "GET /account/whoami")]
    await server.say(chat, "hello")
    await server.until(lambda: server.count("GET /account/whoami") > BLAME_ROUNDS * BLAME_ATTEMPTS)

    for fault in faults:
        fault.times = 0
    await server.until(chat.said)

    assert chat.said() == ["hello"]
    assert not run.logged("send_failed")


async def test_no_answer_is_given_up_for_a_rate_limit(server, start, chat):
    """A hundred rooms that talk at once wait for longer than a broken room is tried."""
    limited = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": 1}
    server.fail("PUT .*/send/", 429, limited, times=2 * BLAME_ROUNDS * BLAME_ATTEMPTS)
    await start().live()

    await server.say(chat, "hello")
    await server.until(chat.said)

    assert chat.said() == ["hello"]


async def test_a_space_that_may_not_be_changed_fails_no_command(server, start, chat):
    """The chat is made, or archived, all the same; the records say whether the Space lists it."""
    run = await start().live()
    server.fail("PUT .*/m.space.child", 403, {"errcode": "M_FORBIDDEN", "error": "no"}, times=99)

    await server.say(chat, "!new Notes")
    await server.say(chat, "!archive")
    await server.until(lambda: len(chat.said()) == 2)
    await run.stop()

    made, archived = chat.said()
    assert made.startswith("Made C2 “Notes”")
    assert archived.startswith("C1 is archived")
    (new,) = [room for room in server.rooms if room.startswith("!made")]
    assert (run.row(new).linked, run.row().archived, run.row().linked) == (False, True, True)


async def test_a_foreign_room_that_is_broken_holds_up_no_command(server, start, chat):
    """It was made by somebody else, so it is not looked at when a chat is made."""
    server.room("!foreign:hs1", creator=CAROL).member(ME, "join")
    server.fail("GET /rooms/!foreign:hs1/state", 500, times=999)
    await start().live()

    await server.say(chat, "!new")
    await server.until(lambda: chat.said())

    assert chat.said()[0].startswith("Made C2")
    assert server.count("GET /rooms/!foreign:hs1/state") == 0
