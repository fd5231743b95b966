"""What a person sees while a step takes long, by a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest

from tests.reset.conftest import SERVER, Shown, acknowledged, add_room, start


class Clock:
    """Time that passes only in `sleep`, and there at once, but only while it `runs`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs = asyncio.Event()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await self.runs.wait()
        await asyncio.sleep(0.001)
        self.now += seconds


@pytest.mark.parametrize(
    ("held", "seen"),
    [
        ("POST /login", "signing in as @bot:hs1"),
        ("GET /joined_rooms", "listing the rooms of @bot:hs1 (this can take minutes)"),
        ("GET /sync", "listing the rooms of @bot:hs1 (this can take minutes)"),
        ("POST /rooms/!slow:hs/leave", "1 of 2 acknowledged, 0 not done"),
    ],
)
async def test_a_step_that_takes_long_says_so_with_the_time_so_far(online, server, held, seen):
    """Without a terminal too a step is printed after 2 s and then every 10 s, until it has ended."""
    add_room(server, "!a:hs")
    add_room(server, "!slow:hs")
    clock = Clock()
    shown = Shown(timing={"clock": clock, "sleep": clock.sleep})
    gate = server.hold(held)

    run = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await server.until(lambda: server.count(held) and ("leave" not in held or acknowledged(shown)))
    clock.runs.set()
    await server.until(lambda: f"  {seen}: 22 s so far" in shown.text.getvalue())
    clock.runs.clear()
    gate.set()
    await run

    signs = [line for line in shown.text.getvalue().splitlines() if "so far" in line]
    assert signs[:3] == [f"  {seen}: {at} s so far" for at in (2, 12, 22)]
    assert all(seen in sign for sign in signs)


async def test_the_closing_listing_says_so_too(online, server):
    """The second listing can take as long as the first."""
    add_room(server, "!a:hs")
    clock = Clock()
    shown = Shown(timing={"clock": clock, "sleep": clock.sleep})
    server.when("POST /rooms/!a:hs/forget", lambda: gates.append(server.hold("GET /sync")))
    gates: list[asyncio.Event] = []

    clock.runs.set()
    run = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await server.until(lambda: "listing the rooms again (this can take minutes): 12 s" in shown.text.getvalue())
    gates[0].set()

    assert (await run).exit_code == 0


async def test_with_json_a_long_listing_is_announced_on_stderr(online, server):
    """With `--json` the signs of life are lines on stderr."""
    gate = server.hold("GET /sync")
    process = await start(online, "--json")

    line = await asyncio.wait_for(process.stderr.readline(), 20)
    gate.set()
    await process.communicate()

    assert line == b"  listing the rooms of @bot:hs1 (this can take minutes): 2 s so far\n"
