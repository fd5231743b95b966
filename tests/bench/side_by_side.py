"""How every benchmark runs: ours and the bare way take turns in one run, and the medians are compared with targets.

A benchmark is a module with a coroutine `measure(report, options)`, and ends with a call of `main`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from subprocess import SubprocessError

import aiohttp

from greenroom.commands.images.catalog import CHECKOUT
from greenroom.errors import HarnessError, Misuse, NotMet
from tests.bench.report import Report, now, this_machine, write

RESULTS = CHECKOUT / ".greenroom" / "bench"  # NAME.json: the last result of each benchmark, not for Git
FAILURES = (HarnessError, NotMet, OSError, SubprocessError, aiohttp.ClientError)  # of a server or of the machine
Way = Callable[[], Awaitable[float | Mapping[str, float]]]
"""Does the work once and returns its seconds, or several values by the names of their figures."""
Measure = Callable[[Report, argparse.Namespace], Awaitable[None]]


async def take_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """Run each way once a round; return the values of each.

    Every round begins with another way, so that none always finds the caches of the one before. A first round warms
    up the machine and is not counted.
    """
    found: dict[str, list[float]] = {}
    names = list(ways)
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            values = await ways[name]()
            for figure, value in values.items() if isinstance(values, Mapping) else [(name, values)]:
                found.setdefault(figure, [])
                if turn:
                    found[figure].append(value)
    return found


async def seconds(work: Awaitable[object]) -> float:
    """Await something; return how long it took."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def seconds_to_enter(resource: AbstractAsyncContextManager[object]) -> float:
    """Enter and leave a context; return how long entering took."""
    began = time.perf_counter()
    async with resource:
        return time.perf_counter() - began


def counts(text: str) -> list[int]:
    """Return the numbers of an option, in ascending order. Raises Misuse for anything else, or fewer than one."""
    try:
        found = sorted({int(count) for count in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise Misuse(f"not numbers from 1 on, with commas between them: {text!r}")
    return found


def say(line: str) -> None:
    """Tell a person what is measured now."""
    print(line, file=sys.stderr, flush=True)


def main(
    name: str, about: str | None, measure: Measure, arguments: Sequence[str] | None = None, **options: int | str
) -> int:
    """Measure, print, write JSON; return the exit code of the report.

    `options` are the defaults of the benchmark's own options; `rounds` is among them.
    """
    about = about or ""
    parser = argparse.ArgumentParser(
        prog=f"bench {name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="where the JSON document goes")
    for option, default in options.items():
        parser.add_argument(f"--{option}", type=type(default), default=default, help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < 1:
        parser.error("--rounds must be at least 1")
    report = Report(name, about, rounds=chosen.rounds, made=now(), machine=this_machine())
    say(f"bench {name}: {about.splitlines()[0]}")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is ended as after Ctrl-C
    try:
        asyncio.run(measured(report, measure, chosen))
    except Misuse as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        say(f"bench {name}: interrupted, nothing written")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    print("\n".join(report.lines()), flush=True)
    if report.figures:
        try:
            write(report, chosen.json)
        except OSError as error:
            parser.error(f"cannot write {chosen.json}: {error.strerror}")
    return report.exit_code


async def measured(report: Report, measure: Measure, options: argparse.Namespace) -> None:
    """Run a benchmark. What it found before it failed stays in the report, and the failure is a gap.

    Raises Misuse for a bad option.
    """
    try:
        await measure(report, options)
    except Exception as failed:
        error = _first(failed)
        if isinstance(error, Misuse):
            raise error from None
        if not isinstance(error, FAILURES):
            raise
        report.gap("the rest" if report.figures else "all of it", (str(error) or repr(error)).splitlines()[0])


def _first(error: Exception) -> Exception:
    """Return the first failure; what starts at the same moment fails in a group."""
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error
