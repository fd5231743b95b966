"""How fast a server reset is, beside bare HTTP loops on the same server.

Each round has freshly made rooms on accounts of their own: for ours as a person runs it, for a bare loop that leaves
and forgets at the same concurrency, and for a bare loop that does it one by one. There is a target for leaving and
forgetting, and one for the whole command, which also starts Python, signs in, finds out what the rooms are, and
verifies, where a bare loop is handed its list and believes every answer. Ours takes a turn with a tenth of the rooms
too, for its memory. At the end a run is killed in the middle and run again.
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
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from greenroom.bot_process import matrix_environment
from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.people.accounts import Account, register, unique_localpart
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.session import Session
from greenroom_reset.act import CONCURRENCY
from tests.bench.report import Report
from tests.bench.side_by_side import main, say, take_turns

FLAT = 1.10  # peak memory may not grow with the rooms; the rest is what their list takes


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Let all ways take turns on one homeserver, then kill one run."""
    session = Session.begin(backend=options.backend)
    try:
        with tempfile.TemporaryDirectory(prefix="reset-bench-") as folder:
            async with session.homeserver(HomeserverSettings()) as server, MatrixApi(server.url) as api:
                bench = Bench(server, api, Path(folder), options.rooms)
                await take(report, bench, options.rounds)
                say("  a run that is killed")
                report.check("killed in the middle, run again: each room once", *await bench.interrupted())
    finally:
        session.close()


async def take(report: Report, bench: Bench, rounds: int) -> None:
    """Let ours and the bare loops take turns, and note the targets."""
    few = bench.rooms // 10
    report.sizes = "rooms"

    async def ours() -> dict[str, float]:
        acting_s, whole_s, peak_mib = await bench.ours(bench.rooms)
        return {"leaving and forgetting": acting_s, "the whole command": whole_s, "peak memory": peak_mib}

    async def ours_with_few() -> dict[str, float]:
        return {"peak memory with few rooms": (await bench.ours(few))[2]}

    ways = {
        "ours": ours,
        "bare concurrent loop": lambda: bench.bare(CONCURRENCY),
        "bare sequential loop": lambda: bench.bare(1),
        "ours with few rooms": ours_with_few,
    }
    found = await take_turns(ways, rounds)
    peaks = found.pop("peak memory"), found.pop("peak memory with few rooms")
    figures = report.timed(found, size=bench.rooms)
    many_mib, few_mib = (
        report.figure("peak memory", values, "MiB", size)
        for values, size in zip(peaks, (bench.rooms, few), strict=True)
    )
    acting, whole = figures["leaving and forgetting"], figures["the whole command"]
    bare, sequential = figures["bare concurrent loop"], figures["bare sequential loop"]
    report.target("leave and forget, beside a concurrent loop", acting, bare, at_least=0.9)
    report.target("leave and forget, beside a sequential loop", acting, sequential, at_least=1.3)
    report.target("the whole command, beside a concurrent loop", whole, bare, at_least=0.8)
    report.target("peak memory, all rooms beside a tenth", many_mib, few_mib, at_most=FLAT)


@dataclass
class Bench:
    """One homeserver, and the ways to leave freshly made rooms there."""

    server: RunningHomeserver
    api: MatrixApi
    folder: Path
    rooms: int

    async def account_with_rooms(self, count: int) -> tuple[Account, list[str]]:
        """Register an account, make rooms with it, and return it with their ids."""
        account = await register(self.server, unique_localpart("bench"), api=self.api)
        made: list[str] = []

        async def make(number: int) -> None:
            body = {"name": f"C{number}"}
            answer = await self.api.call("POST", path("createRoom"), token=account.access_token, json=body)
            made.append(answer["room_id"])

        await at_once(8, (lambda n=n: make(n) for n in range(count)))
        return account, made

    async def bare(self, concurrency: int) -> float:
        """Leave and forget with nothing around it."""
        account, rooms = await self.account_with_rooms(self.rooms)
        headers = {"Authorization": f"Bearer {account.access_token}"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def one(room_id: str) -> None:
                for action in ("leave", "forget"):
                    async with session.post(self.server.url + path("rooms", room_id, action), json={}) as answer:
                        await answer.read()
                        assert answer.status == 200, answer.status

            began = time.perf_counter()
            await at_once(concurrency, (lambda r=r: one(r) for r in rooms))
            return time.perf_counter() - began

    async def ours(self, count: int) -> tuple[float, float, float]:
        """Run the command. Return its seconds of leaving and forgetting, its seconds altogether, its peak MiB."""
        account, rooms = await self.account_with_rooms(count)
        began = time.perf_counter()
        summary, peak_mib = await asyncio.to_thread(self._run, account)
        seconds = time.perf_counter() - began
        assert {room["room_id"] for room in summary["server"]["rooms"]} == set(rooms)
        assert summary["exit_code"] == 0
        return summary["server"]["acting_seconds"], seconds, peak_mib

    async def interrupted(self) -> tuple[bool, str]:
        """Kill a run in the middle, run again. Return whether all is well, and how many rooms each run accounts for."""
        account, rooms = await self.account_with_rooms(self.rooms)
        process = self._start(account)
        printed = await asyncio.to_thread(self._kill_midway, process)
        summary, _ = await asyncio.to_thread(self._run, account)
        finished = {room["room_id"] for room in summary["server"]["rooms"] if room["state"] == "done"}
        unprinted = len(set(rooms) - printed - finished)
        # No room counts twice, and no more are gone unprinted than requests were under way.
        well = summary["exit_code"] == 0 and not printed & finished and unprinted <= CONCURRENCY
        seen = f"{len(printed)} acknowledged before, {len(finished)} afterwards, {unprinted} under way at the kill"
        return well, seen

    def _kill_midway(self, process: subprocess.Popen[bytes]) -> set[str]:
        assert process.stderr is not None
        printed: set[str] = set()
        for line in process.stderr:
            if found := re.match(rb"  acknowledged, leave and forget: room .*?(![^ ]+)", line.rstrip()):
                printed.add(found[1].decode())
            if len(printed) == self.rooms // 2:
                process.send_signal(signal.SIGKILL)
        process.communicate()
        return printed

    def _env(self, account: Account) -> dict[str, str]:
        folder = self.folder / account.localpart
        folder.mkdir(exist_ok=True)
        return {**os.environ, **matrix_environment(self.server, account, folder)}

    def _start(self, account: Account, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "greenroom_reset", "--mode", "server-leave-forget", "--yes", "--json"]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, env=self._env(account), stdin=null, stdout=pipe, stderr=stderr)

    def _run(self, account: Account) -> tuple[dict[str, Any], float]:
        process = self._start(account, stderr=subprocess.DEVNULL)  # it grows with the rooms and would fill a pipe
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return json.loads(out), _mib(usage)


def _mib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


async def at_once(concurrency: int, calls: Iterator[Callable[[], Awaitable[None]]]) -> None:
    """Make calls, that many at a time."""

    async def worker() -> None:
        for call in calls:
            await call()

    await asyncio.gather(*(worker() for _ in range(concurrency)))


if __name__ == "__main__":
    sys.exit(main("reset", __doc__, measure, rounds=3, rooms=300, backend="auto"))
