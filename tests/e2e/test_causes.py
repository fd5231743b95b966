"""Ways to break a bot: the first three lines of the failure name the cause."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest

from greenroom import must
from greenroom.errors import Died, NotMet, StartFailed

TINY = [sys.executable, str(Path(__file__).with_name("tiny_bot.py"))]


def first_three(error: BaseException) -> str:
    return "\n".join(str(error).splitlines()[:3])


async def _ask(person, bot, how: str) -> None:
    alice, tiny = await person("alice"), await bot(TINY, env={"BROKEN": how}, ready_timeout_s=2)
    room = await must.chat(alice, tiny, timeout_s=2)
    await must.answer(alice, tiny, room, "!ping", "pong", timeout_s=2)


async def broken(person, bot, how: str, error: type[BaseException]) -> BaseException:
    """Ask a broken bot, and return the error: of its start, of the invite, or of the question."""
    with pytest.raises(error) as caught:
        await _ask(person, bot, how)
    return caught.value


async def test_a_whole_bot_answers(person, bot):
    """The bot that the other tests break works."""
    alice, tiny = await person("alice"), await bot(TINY)
    await must.answer(alice, tiny, await must.chat(alice, tiny), "!ping", "pong")


async def test_a_wrong_variable_is_named(person, bot):
    """A variable that is not set ends the bot; a wrong one with a default leaves it without a request."""
    unset = await broken(person, bot, "unset variable", StartFailed)
    wrong = await broken(person, bot, "wrong variable", StartFailed)

    assert "KeyError: 'HOMESERVER_URL': the bot reads an environment variable that is not set" in first_three(unset)
    assert 'os.environ["HOMESERVER_URL"]' in first_three(unset)
    assert str(unset).startswith("the bot did not start: ended with exit code 1")
    assert "it has made no request at all: does it read MATRIX_HOMESERVER" in first_three(wrong)


async def test_a_wrong_password_is_named(person, bot):
    """A refused login."""
    error = await broken(person, bot, "wrong password", StartFailed)

    assert re.search(r"could not log in: POST /login was refused: 403 M_FORBIDDEN.*MATRIX_PASSWORD", first_three(error))


async def test_no_join_is_named(person, bot):
    """A bot that accepts no invite."""
    error = await broken(person, bot, "no join", NotMet)

    assert re.search(
        r"^the bot has not joined !\S+: it has made no request to join a room\n  waited", first_three(error)
    )


async def test_a_missing_body_is_named(person, bot):
    """What the homeserver refused, and what the bot had sent."""
    error = await broken(person, bot, "missing body", NotMet)

    said = (
        r"^the bot's PUT /rooms/!\S+/send/m.room.message was refused: 400 M_\w+: .*body.*\n .* it sent {\"msgtype\": "
    )
    assert re.search(said, first_three(error))


async def test_a_blocking_call_is_named(person, bot):
    """A bot that does nothing after the question came."""
    error = await broken(person, bot, "blocking call", NotMet)

    said = r"^the bot received the question at \S+, and has sent no request since \(\d\.\d s\): is it blocked\?"
    assert re.search(said, first_three(error))


async def test_a_wrong_room_is_named(person, bot):
    """A bot that answers where nobody asked."""
    error = await broken(person, bot, "wrong room", NotMet)

    said = r"^the bot sent its answer to !nowhere:elsewhere.test, and was asked in !\S+ \(403 M_FORBIDDEN: .*\)"
    assert re.search(said, first_three(error))


async def test_silence_is_told_from_a_block(person, bot):
    """A bot that ignores the question goes on syncing."""
    error = await broken(person, bot, "silent", NotMet)

    assert re.search(r"^the bot received the question at \S+, went on syncing .* and sent nothing", first_three(error))


async def test_an_exception_is_named_with_the_bots_own_line(person, bot):
    """A bot that dies of an exception."""
    error = await broken(person, bot, "exception", Died)

    assert str(error).startswith("bot died: ended with exit code 1: KeyError: 'text'\n")
    assert 'content["body"] = content["text"]' in str(error)
    assert "urllib" not in str(error)


async def test_a_taken_port_is_named_as_ours_where_it_is(bot):
    """Two copies of a bot with a fixed port: the second says whose doing that is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listens = f"import socket, time\nserver = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(60)\n"
    await bot([sys.executable, "-c", listens], ready=lambda bot: None if _answers(port) else "no port yet")

    with pytest.raises(StartFailed) as caught:
        await bot([sys.executable, "-c", listens])

    assert "another process of this test run" in first_three(caught.value)
    assert "Greenroom's doing" in first_three(caught.value)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
