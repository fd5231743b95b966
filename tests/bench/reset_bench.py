"""How fast a server reset is beside bare HTTP loops on the same server: `python -m tests.bench.reset_bench`.

Contestants, each on an account of its own with freshly made rooms, in rounds: ours as a person runs it, a bare loop
that leaves and forgets at the same concurrency, and a bare loop that does it one by one. There is a target for leaving
and forgetting, and one for the whole command, which also starts Python, signs in, finds out what the rooms are, and
verifies, where a bare loop is handed its list and believes every answer. Then ours once more on a tenth of the rooms,
for memory, and once killed in the middle and run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import statistics
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

TARGETS = {"bare concurrent": {"reset": 0.9, "reset, whole": 0.8}, "bare sequential": {"reset": 1.3}}


@dataclass
class Bench:
    server: RunningHomeserver
    api: MatrixApi
    folder: Path
    rooms: int

    async def account_with_rooms(self, count: int) -> tuple[Account, list[str]]:
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

            began = time.monotonic()
            await at_once(concurrency, (lambda r=r: one(r) for r in rooms))
            return time.monotonic() - began

    async def ours(self, count: int) -> tuple[float, float, float]:
        """Run the command. Return its seconds of leaving and forgetting, its seconds altogether, its peak MiB."""
        account, rooms = await self.account_with_rooms(count)
        began = time.monotonic()
        summary, peak_mib = await asyncio.to_thread(self._run, account)
        seconds = time.monotonic() - began
        assert {room["room_id"] for room in summary["server"]["rooms"]} == set(rooms)
        assert summary["exit_code"] == 0
        return summary["server"]["acting_seconds"], seconds, peak_mib

    async def interrupted(self) -> str:
        """Kill a run in the middle, run again, and return how many rooms each of the two accounts for."""
        account, rooms = await self.account_with_rooms(self.rooms)
        process = self._start(account)
        printed = await asyncio.to_thread(self._kill_midway, process)
        summary, _ = await asyncio.to_thread(self._run, account)
        finished = {room["room_id"] for room in summary["server"]["rooms"] if room["state"] == "done"}
        assert not printed & finished, "a room counts twice"
        unprinted = len(set(rooms) - printed - finished)
        assert unprinted <= CONCURRENCY, "more rooms are gone unprinted than requests were under way"
        return (
            f"exit {summary['exit_code']}; {len(printed)} acknowledged before, {len(finished)} done afterwards, "
            f"{unprinted} under way at the kill"
        )

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


async def measure(rooms: int, rounds: int, backend: str) -> list[str]:
    """Run the rounds and return the table."""
    session = Session.begin(backend=backend)
    try:
        with tempfile.TemporaryDirectory(prefix="reset-bench-") as folder:
            async with session.homeserver(HomeserverSettings()) as server, MatrixApi(server.url) as api:
                bench = Bench(server, api, Path(folder), rooms)
                took: dict[str, list[float]] = {
                    "reset": [],
                    "reset, whole": [],
                    "bare concurrent": [],
                    "bare sequential": [],
                }
                peaks = []
                for _ in range(rounds):
                    took["bare concurrent"].append(await bench.bare(CONCURRENCY))
                    acting_s, whole_s, peak = await bench.ours(rooms)
                    took["reset"].append(acting_s)
                    took["reset, whole"].append(whole_s)
                    peaks.append(peak)
                    took["bare sequential"].append(await bench.bare(1))
                _, _, small_peak = await bench.ours(rooms // 10)
                return [
                    *table(took, rooms),
                    *memory(peaks, small_peak, rooms),
                    f"killed midway: {await bench.interrupted()}",
                ]
    finally:
        session.close()


def table(took: dict[str, list[float]], rooms: int) -> list[str]:
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    lines = [f"{rooms} rooms, {len(took['reset'])} rounds, medians"]
    for name, seconds in medians.items():
        verdicts = []
        for ours, target in TARGETS.get(name, {}).items():
            ratio = seconds / medians[ours]
            verdicts.append(f"{ours} {ratio:.2f}x (target {target}: {'ok' if ratio >= target else 'MISSED'})")
        lines.append(f"  {name:<16} {seconds:6.2f} s  {rooms / seconds:6.1f} rooms/s  {'; '.join(verdicts)}")
    return lines


def memory(peaks: list[float], small_peak: float, rooms: int) -> list[str]:
    peak = statistics.median(peaks)
    return [f"  peak memory: {peak:.0f} MiB with {rooms} rooms, {small_peak:.0f} MiB with {rooms // 10}"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rooms", type=int, default=300)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--backend", default="auto", help="auto, container or process")
    given = arguments.parse_args()
    print("\n".join(asyncio.run(measure(given.rooms, given.rounds, given.backend))))


if __name__ == "__main__":
    main()
