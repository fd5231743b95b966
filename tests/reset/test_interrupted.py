"""Interrupted server resets: what they have told, and how the next run finishes the work."""

from __future__ import annotations

import asyncio
import math
import os
import re
import subprocess
import sys

import pytest

from greenroom_bot.matrix.errors import CredentialsError
from greenroom_reset.errors import Refused
from tests.fake_homeserver import FakeHomeserver
from tests.reset.conftest import LIMITED, LOCAL, SERVER, Shown, acknowledged, add_room, memberships

ROOMS = [f"!{number:02}:hs" for number in range(40)]


def limited_after(server: FakeHomeserver, leaves: int) -> None:
    """Make forty rooms; after so many leaves the homeserver asks to wait for longer than a test lasts."""
    for room_id in ROOMS:
        add_room(server, room_id)
    server.when("POST /.*/leave", lambda: None, times=leaves)
    server.fail("POST /.*/leave", 429, LIMITED, times=math.inf)


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
    await server.until(lambda: "rate limited" in shown.text.getvalue() and len(acknowledged(shown)) == 10)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert set(acknowledged(shown)) == set(ROOMS) - set(server.rooms)
    assert memberships(server) == {"join": 30}


async def test_a_room_that_a_killed_run_left_but_did_not_forget_is_forgotten_by_the_next(online, server, shown):
    """The listing includes rooms that were left and not forgotten, so the next run needs no record of them."""
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/forget", 429, LIMITED)

    first = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await server.until(lambda: "rate limited" in shown.text.getvalue())
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    half_done = memberships(server)
    server.faults.clear()
    second = await shown.reset(online, SERVER, yes=True)

    assert half_done == {"leave": 1}
    assert [(room.membership, room.state) for room in second.server.rooms] == [("leave", "done")]
    assert server.rooms == {}


async def test_a_session_that_ends_midway_stops_the_run_with_exit_code_4(online, server, shown):
    """When the homeserver ends the session midway, the run stops, with the acknowledged rooms printed."""
    for room_id in ROOMS:
        add_room(server, room_id)
    server.when("POST /rooms/!20:hs/leave", lambda: server.devices.clear())

    with pytest.raises(CredentialsError, match="ended the session midway"):
        await shown.reset(online, SERVER, yes=True)

    assert set(ROOMS) - set(server.rooms) == set(acknowledged(shown)) != set()
    assert server.count("POST /.*/leave") < 40


@pytest.mark.parametrize("modes", [[SERVER], [LOCAL]], ids=" ".join)
@pytest.mark.parametrize("second", [{"yes": True}, {"dry_run": True}], ids=" ".join)
async def test_a_second_reset_is_refused_before_it_does_anything(online, server, bot_state, shown, second, modes):
    """A second reset of the same bot, a dry run too, is refused: it would take the first one's device or session."""
    refused = []

    async def another() -> None:
        with pytest.raises(Refused, match=r"another reset is at work in .+; wait until it has ended"):
            await Shown().reset(online, *modes, **second)
        refused.append((server.count("POST /login"), (bot_state / "bot.db").exists()))

    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/leave", another)

    summary = await shown.reset(online, SERVER, yes=True)

    assert refused == [(1, True)]
    assert summary.exit_code == 0


async def test_a_server_reset_is_refused_while_a_local_one_asks_its_question(online, server, bot_state, shown):
    """A server reset that starts during a local one is refused before it signs in."""
    command = [sys.executable, "-m", "greenroom_reset", "--mode", SERVER, "--yes"]
    seen = []

    def answer() -> str:
        seen.append(subprocess.run(command, env={**os.environ, **online}, capture_output=True, text=True, check=False))
        return "y"

    shown.answer = answer
    summary = await shown.reset(online, LOCAL)

    assert [(second.returncode, second.stdout) for second in seen] == [(2, "")]
    assert re.fullmatch("reset: another reset is at work in .+; wait until it has ended\n", seen[0].stderr)
    assert (summary.exit_code, server.count("")) == (0, 0)
