"""Interrupted server resets: what they have told, and how the next run finishes the work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from aiohttp import web

from greenroom_bot.matrix.errors import CredentialsError
from greenroom_reset.errors import Refused
from tests.reset.conftest import SERVER, FakeHomeserver, Shown, acknowledged, refusal

ROOMS = [f"!{number:02}:hs" for number in range(40)]


def limited_after(server: FakeHomeserver, leaves: int) -> None:
    """Make forty rooms; after so many leaves the homeserver asks to wait for longer than a test lasts."""

    def limit(_: web.Request) -> web.Response | None:
        nonlocal leaves
        leaves -= 1
        return None if leaves >= 0 else refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=9_999_999)

    for room_id in ROOMS:
        server.room(room_id)
        server.faults[room_id, "leave"] = limit


async def test_a_killed_run_has_printed_exactly_the_acknowledged_rooms_and_the_next_run_finishes(online, server, shown):
    """After SIGKILL the output names the rooms that are gone, and a second run leaves exactly the others."""
    limited_after(server, leaves=25)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "greenroom_reset", "--mode", SERVER, "--yes"),
        env={**os.environ, **online},
        stdout=subprocess.PIPE,
    )
    printed = ""
    async with asyncio.timeout(30):
        while "rate limited" not in printed or len(acknowledged(printed)) < 25:
            printed += (await process.stdout.readline()).decode()
        process.kill()
        printed += (await process.stdout.read()).decode()
        await process.wait()
    gone = set(ROOMS) - set(server.rooms)
    server.faults.clear()

    second = await shown.reset(online, SERVER, yes=True)

    assert len(acknowledged(printed)) == len(set(acknowledged(printed))) == 25
    assert set(acknowledged(printed)) == gone
    assert sorted(room.room_id for room in second.server.rooms) == sorted(set(ROOMS) - gone)
    assert {room.state for room in second.server.rooms} == {"done"}
    assert (second.exit_code, server.rooms) == (0, {})


async def test_an_interrupted_run_has_printed_exactly_the_acknowledged_rooms(online, server, shown):
    """Ctrl-C while the run waits: the rooms printed as acknowledged are gone, every other room is as it was."""
    limited_after(server, leaves=10)

    run = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    async with asyncio.timeout(30):
        while "rate limited" not in shown.text.getvalue() or len(acknowledged(shown)) < 10:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert set(acknowledged(shown)) == set(ROOMS) - set(server.rooms)
    assert server.memberships() == {"join": 30}


async def test_a_room_that_a_killed_run_left_but_did_not_forget_is_forgotten_by_the_next(online, server, shown):
    """The listing includes rooms that were left and not forgotten, so the next run needs no record of them."""
    server.room("!a:hs")
    reached = asyncio.Event()
    server.faults["!a:hs", "forget"] = lambda _: reached.set() or refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=9999)

    first = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await asyncio.wait_for(reached.wait(), 10)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    half_done = server.memberships()
    server.faults.clear()
    second = await shown.reset(online, SERVER, yes=True)

    assert half_done == {"leave": 1}
    assert [(room.membership, room.state) for room in second.server.rooms] == [("leave", "done")]
    assert server.rooms == {}


async def test_a_session_that_ends_midway_stops_the_run_with_exit_code_4(online, server, shown):
    """When the homeserver ends the session midway, the run stops, with the acknowledged rooms printed."""
    for room_id in ROOMS:
        server.room(room_id)
    server.faults["!20:hs", "leave"] = lambda _: server.tokens.clear()  # type: ignore[func-returns-value]

    with pytest.raises(CredentialsError, match="ended the session midway"):
        await shown.reset(online, SERVER, yes=True)

    assert set(ROOMS) - set(server.rooms) == set(acknowledged(shown)) != set()
    assert len({path for _, path in server.writes() if path.endswith("leave")}) < 40


@pytest.mark.parametrize("second", [{"yes": True}, {"dry_run": True}])
async def test_a_second_reset_is_refused_before_it_signs_in(online, server, bot_state, shown, second):
    """A second server reset of the same bot is refused, a dry run too, because it would take over the device."""
    refused = []

    async def another() -> None:
        with pytest.raises(Refused, match="another reset is at work"):
            await Shown().reset(online, SERVER, **second)
        refused.append(sum(path == "login" for _, path in server.asked))

    async def slow(request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts[0] == "rooms" and not refused:
            await another()
        return await answer(request, parts)

    answer, server._answer = server._answer, slow  # type: ignore[method-assign]
    server.room("!a:hs")
    summary = await shown.reset(online, SERVER, yes=True)

    assert refused == [1]
    assert summary.exit_code == 0
