"""How fast a server reset is, beside bare HTTP loops.

Each turn has a homeserver of its own, restored with the rooms of the blueprint `large`: for ours as a person runs it,
for a bare loop that leaves and forgets at the same concurrency, and for a bare loop that does it one by one. There is a
target for leaving and forgetting, and one for the whole command, which also starts Python, signs in, finds out what the
rooms are, and verifies, where a bare loop is handed its list and believes every answer. Ours takes a turn with a tenth
of the rooms too, for its memory. At the end a run is killed in the middle and run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from greenroom.bot_process import matrix_environment
from greenroom.errors import HarnessError
from greenroom.homeserver import RunningHomeserver
from greenroom.people.accounts import Account
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.session import Session
from greenroom_reset.act import CONCURRENCY
from tests.bench.report import Report
from tests.bench.seeded import homeserver_with
from tests.bench.side_by_side import main, say, seconds, take_turns

FLAT = 1.10  # peak memory may not grow with the rooms; the rest is what their list takes
COMMAND = [sys.executable, "-m", "greenroom_reset", "--mode", "server-leave-forget", "--yes", "--json"]


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Let all ways take turns, then kill one run."""
    session = Session.begin(backend=options.backend)
    try:
        await take(report, session, options.rooms, options.rounds)
        say("  a run that is killed")
        report.check("killed in the middle, run again: each room once", *await interrupted(session, options.rooms))
    finally:
        session.close()


async def take(report: Report, session: Session, rooms: int, rounds: int) -> None:
    """Let ours and the bare loops take turns, and note the targets."""
    few = rooms // 10
    report.sizes = "rooms"

    async def ours_with_few() -> dict[str, float]:
        return {"peak memory with few rooms": (await ours(session, few))["peak memory"]}

    ways = {
        "ours": lambda: ours(session, rooms),
        "bare concurrent loop": lambda: bare(session, rooms, CONCURRENCY),
        "bare sequential loop": lambda: bare(session, rooms, 1),
        "ours with few rooms": ours_with_few,
    }
    found = await take_turns(ways, rounds)
    many_mib = report.figure("peak memory", found.pop("peak memory"), "MiB", rooms)
    few_mib = report.figure("peak memory", found.pop("peak memory with few rooms"), "MiB", few)
    figures = report.timed(found, size=rooms)
    acting, whole = figures["leaving and forgetting"], figures["the whole command"]
    concurrent, sequential = figures["bare concurrent loop"], figures["bare sequential loop"]
    report.target("leave and forget, beside a concurrent loop", acting, concurrent, at_least=0.9)
    report.target("leave and forget, beside a sequential loop", acting, sequential, at_least=1.3)
    report.target("the whole command, beside a concurrent loop", whole, concurrent, at_least=0.8)
    report.target("peak memory, all rooms beside a tenth", many_mib, few_mib, at_most=FLAT)


@dataclass(frozen=True)
class Scene:
    """A homeserver, the bot's account there with all of its rooms, and a folder for its state."""

    server: RunningHomeserver
    bot: Account
    rooms: frozenset[str]
    folder: Path

    @classmethod
    @asynccontextmanager
    async def restored(cls, session: Session, count: int) -> AsyncIterator[Scene]:
        """Run a homeserver on which the bot is in that many chats, a Space and a direct room.

        It has read all of them once. Otherwise a bare loop would meet its empty caches, and ours would not: it lists
        the rooms first.
        """
        async with homeserver_with(session, count) as (server, bot):
            async with MatrixApi(server.url) as api:
                synced = await api.call("GET", path("sync"), token=bot.access_token)
            yield cls(server, bot, frozenset(synced["rooms"]["join"]), session.run.new_folder("bot"))

    def start(self, stderr: int) -> subprocess.Popen[bytes]:
        """Start the command."""
        env = {**os.environ, **matrix_environment(self.server, self.bot, self.folder)}
        return subprocess.Popen(COMMAND, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)

    def run(self) -> tuple[dict[str, Any], float]:
        """Run the command to its end. Return its summary and its peak MiB."""
        process = self.start(subprocess.DEVNULL)  # its stderr grows with the rooms and would fill a pipe
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return json.loads(out), _mib(usage)


async def ours(session: Session, count: int) -> dict[str, float]:
    """Run the command, and check that all rooms are done."""
    async with Scene.restored(session, count) as scene:
        running = asyncio.create_task(asyncio.to_thread(scene.run))
        whole_s = await seconds(running)
    summary, peak_mib = running.result()
    done = {room["room_id"] for room in summary["server"]["rooms"] if room["state"] == "done"}
    if done != scene.rooms or summary["exit_code"] != 0:
        raise HarnessError(f"reset ended with {summary['exit_code']}, {len(done)} of {len(scene.rooms)} rooms done")
    acting_s = summary["server"]["acting_seconds"]
    return {"leaving and forgetting": acting_s, "the whole command": whole_s, "peak memory": peak_mib}


async def bare(session: Session, count: int, at_once: int) -> float:
    """Leave and forget with nothing around it; return the seconds."""
    async with Scene.restored(session, count) as scene:
        headers = {"Authorization": f"Bearer {scene.bot.access_token}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            turn = asyncio.Semaphore(at_once)

            async def leave_and_forget(room_id: str) -> None:
                async with turn:
                    for action in ("leave", "forget"):
                        async with http.post(scene.server.url + path("rooms", room_id, action), json={}) as answer:
                            await answer.read()
                            answer.raise_for_status()

            return await seconds(asyncio.gather(*map(leave_and_forget, scene.rooms)))


async def interrupted(session: Session, count: int) -> tuple[bool, str]:
    """Kill a run in the middle, run again. Return whether all is well, and how many rooms each run accounts for."""
    async with Scene.restored(session, count) as scene:
        printed = await asyncio.to_thread(kill_midway, scene.start(subprocess.PIPE), count // 2)
        summary, _ = await asyncio.to_thread(scene.run)
    finished = {room["room_id"] for room in summary["server"]["rooms"] if room["state"] == "done"}
    unprinted = len(scene.rooms - printed - finished)
    # No room counts twice, and no more are gone unprinted than requests were under way.
    well = summary["exit_code"] == 0 and not printed & finished and unprinted <= CONCURRENCY
    seen = f"{len(printed)} acknowledged before, {len(finished)} afterwards, {unprinted} under way at the kill"
    return well, seen


def kill_midway(process: subprocess.Popen[bytes], count: int) -> set[str]:
    """Kill a run when it has printed that many rooms; return all that it has printed."""
    assert process.stderr is not None
    printed: set[str] = set()
    for line in process.stderr:
        if found := re.match(rb"  acknowledged, leave and forget: room .*?(![^ ]+)", line.rstrip()):
            printed.add(found[1].decode())
        if len(printed) == count:
            process.send_signal(signal.SIGKILL)
    process.communicate()
    return printed


def _mib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


if __name__ == "__main__":
    sys.exit(main("reset", __doc__, measure, rounds=3, rooms=300, backend="process"))
