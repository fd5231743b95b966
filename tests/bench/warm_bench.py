"""Many homeservers from one warm parent: in a row, at once, apart from each other, and nothing left of them.

For each number of servers, ours and plain starts take turns; all servers of a turn start at the same moment, and the
time is that until the last of them has answered. The target compares five of ours at once with *one* plain start. Then
many are started in a row, and the warm parent's resident memory and open descriptors are read. An account made on one
server must be unknown on another, and after the session no process and no folder of it may be left.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from greenroom.errors import MatrixRefused
from greenroom.homeserver import HomeserverSettings
from greenroom.people.accounts import log_in, register
from greenroom.people.matrix_api import MatrixApi
from greenroom.processes.procfs import pids_with_environment
from greenroom.processes.runs import MARKER, find_head, run_name, runs_root
from greenroom.session import Session
from tests.bench.plain_synapse import PlainSynapse
from tests.bench.report import Report
from tests.bench.side_by_side import counts, main, say, seconds_to_enter, take_turns

FIVE = 5
SETTLED = 10  # starts, after which the parent has made what it makes once
GONE_WITHIN_S = 2.0  # after the close: the parent's Python takes its time to end
MORE_MIB = 1.0  # of the parent's memory; allocators keep a little more or less


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Measure at once, in a row, isolation, and what is left."""
    report.sizes = "servers at once"
    session = Session.begin(backend="process")
    try:
        with PlainSynapse.prepared() as plain:
            await measure_at_once(report, session, plain, counts(options.servers), options.rounds)
        await check_isolation(report, session)
        await measure_in_a_row(report, session, options.row)
    finally:
        folders = own_folders()
        session.close()
    check_nothing_left(report, folders)


async def measure_at_once(report: Report, session: Session, plain: PlainSynapse, sizes: list[int], rounds: int) -> None:
    """Let ours and plain starts take turns with each number of servers, and five of ours with one plain start."""
    for count in sizes:
        say(f"  {count} at once")
        ways = {"greenroom": partial(at_once, session, count), "plain start": partial(plain.start_at_once, count)}
        report.timed(await take_turns(ways, rounds), size=count)
    say(f"  {FIVE} at once beside one plain start")
    five, one = "greenroom, five at once", "one plain start"
    figures = report.timed(await take_turns({five: partial(at_once, session, FIVE), one: plain.start}, rounds))
    report.target("five at once, beside one plain start", figures[five], figures[one], at_most=0.4)


async def at_once(session: Session, count: int) -> float:
    """Start several at the same moment, stop them, and return the seconds until the last of them was ready."""
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        servers = [session.homeserver(HomeserverSettings()) for _ in range(count)]
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(stack.enter_async_context(server))
        return time.perf_counter() - began


async def check_isolation(report: Report, session: Session) -> None:
    """Make an account on one server, and try its password on another that runs at the same time."""
    async with session.homeserver(HomeserverSettings()) as one, session.homeserver(HomeserverSettings()) as two:
        account = await register(one, "alice")
        async with MatrixApi(one.url) as api:
            await log_in(api, account)
        async with MatrixApi(two.url) as api:
            try:
                await log_in(api, account)
                seen = "the other server knows it"
            except MatrixRefused as refused:
                seen = f"the other server answers {refused.status} {refused.errcode}"
    report.check("an account made on one server is unknown on another", "403" in seen, seen)


async def measure_in_a_row(report: Report, session: Session, row: int) -> None:
    """Start one after the other, and compare the parent after a few starts with the parent after all."""
    if session.slow_because:
        report.gap(f"{row} starts in a row", f"started plainly: {', '.join(sorted(session.slow_because))}")
        return
    parents = processes(own_folders())
    assert parents, "nothing else has forked the homeservers"
    say(f"  {row} in a row")
    took = [await seconds_to_enter(session.homeserver(HomeserverSettings())) for _ in range(SETTLED)]
    before_mib, before = sum(map(resident_mib, parents)), sum(map(descriptors, parents))
    took += [await seconds_to_enter(session.homeserver(HomeserverSettings())) for _ in range(row - SETTLED)]
    after_mib, after = sum(map(resident_mib, parents)), sum(map(descriptors, parents))
    report.figure(f"greenroom, each of {row} in a row", took)
    same = f"after {SETTLED} starts and after {row}"
    report.check("the parent's descriptors do not grow", after <= before, f"{before} and {after}, {same}")
    mib = f"{before_mib:.1f} MiB and {after_mib:.1f} MiB, {same}"
    report.check("the parent's memory does not grow", after_mib - before_mib <= MORE_MIB, mib)


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process. Unlike the PSS it does not grow when another process ends."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def descriptors(pid: int) -> int:
    """Return the number of open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def check_nothing_left(report: Report, folders: list[Path]) -> None:
    """Look for the folders of a closed session, and for processes with their marks, which have a moment to end."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while (left := processes(folders)) and time.monotonic() < deadline:
        time.sleep(0.02)
    kept = [folder for folder in folders if folder.exists()]
    seen = f"{len(left)} processes, {len(kept)} of {len(folders)} folders"
    report.check("nothing is left of the session", not left and not kept, seen)


def own_folders() -> list[Path]:
    """Return the folders of this process: the session's, and the warm parent's."""
    return list(runs_root().glob(run_name(find_head(), "*")))


def processes(folders: list[Path]) -> list[int]:
    """Return the processes that run for these folders. Without a homeserver, that is the warm parent."""
    return [pid for folder in folders for pid in pids_with_environment(f"{MARKER}={folder.name}")]


if __name__ == "__main__":
    sys.exit(main("warm", __doc__, measure, rounds=3, servers="1,2,4,8", row=100))
