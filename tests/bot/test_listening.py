"""A bot that starts beside its homeserver waits for it to listen, for a moment and without a word."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest

from greenroom_bot.matrix.listening import EVERY_S, until_listening


@pytest.fixture
def refused(unused_tcp_port):
    """Return the URL of a homeserver that does not listen yet."""
    return f"http://127.0.0.1:{unused_tcp_port}"


@pytest.fixture
def pauses():
    """Keep the pauses instead of making them."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    sleep.made = made
    return sleep


async def test_it_returns_as_soon_as_somebody_listens(refused):
    """Long before the grace is over."""
    waiting = asyncio.create_task(until_listening(refused, grace_s=30))
    await asyncio.sleep(3 * EVERY_S)
    assert not waiting.done()

    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", int(refused.rpartition(":")[2]))

    async with asyncio.timeout(5), server:
        await waiting


async def test_it_gives_up_after_its_grace_without_an_error(refused, pauses):
    """Then the sign-in waits, with growing pauses that are logged."""
    await until_listening(refused, grace_s=3, clock=itertools.count().__next__, sleep=pauses)

    assert pauses.made == [EVERY_S] * 2


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.1:99999", f"http://{'x' * 80}.test", "http://no-such-host.invalid"]
)
async def test_what_is_no_refusal_is_left_to_the_sign_in(elsewhere, pauses):
    """A name or a port that does not exist is reported there."""
    await until_listening(elsewhere, sleep=pauses)

    assert pauses.made == []


async def test_a_homeserver_that_listens_and_does_not_answer_counts(pauses):
    """Whether it is one is asked by the sign-in."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        await until_listening(f"http://127.0.0.1:{silent.getsockname()[1]}", sleep=pauses)

    assert pauses.made == []
