"""Run scenarios and say: passed, failed, could not tell, not promised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from greenroom.errors import CannotTell, Died, HarnessError, Misuse, StartFailed
from greenroom.evidence.bundle import write_bundle
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.scenarios.catalogue import CATALOGUE, Scenario
from greenroom.scenarios.promises import NOT_PROMISED, BotPromises
from greenroom.scenarios.stage import open_stage
from greenroom.session import Session

WHY_LENGTH = 100


class Verdict(StrEnum):
    """What came of one scenario."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "could not tell"
    NOT_PROMISED = "not promised"


@dataclass(frozen=True)
class Result:
    """One scenario with its verdict; `why` and `bundle` where it did not pass."""

    scenario: str
    way: str
    verdict: Verdict
    seconds: float = 0.0
    error: BaseException | None = None
    bundle: Path | None = None

    @property
    def why(self) -> str:
        """The reason in one line, cut where it is long."""
        line = str(self.error).strip().partition("\n")[0] if self.error else ""
        return line if len(line) <= WHY_LENGTH else f"{line[:WHY_LENGTH]}…"


async def play(
    session: Session, server: RunningHomeserver, promises: BotPromises, scenario: Scenario, way: str
) -> None:
    """Run one scenario to its end, on `server` or, where it harms the server, on one of its own.

    Raises what the scenario raises. A bot that dies or does not come back has failed.
    """
    async with AsyncExitStack() as stack:
        if scenario.own_server:
            server = await stack.enter_async_context(session.homeserver(HomeserverSettings()))
        try:
            stage = await stack.enter_async_context(open_stage(session, server, promises, way))
            await scenario.run(stage)
        except (Died, StartFailed) as gone:
            if gone.name in ("bot", "the bot"):
                raise AssertionError(str(gone)) from gone
            raise
        except CannotTell as basics:
            if scenario.name == "answers":  # the first thing is what it is about
                raise AssertionError(str(basics.__cause__ or basics)) from basics
            raise


async def judge(
    session: Session,
    server: RunningHomeserver,
    promises: BotPromises,
    scenario: Scenario,
    *,
    bundles: Path | None = None,
) -> Result:
    """Run one scenario; give its verdict, with a bundle in `bundles` unless it passed."""
    way = promises.promised(scenario.name)
    if way == NOT_PROMISED:
        return Result(scenario.name, way, Verdict.NOT_PROMISED)
    began = time.monotonic()
    verdict, bundle = Verdict.PASSED, None
    error: BaseException | None = None
    with session.part(f"{promises.name} {scenario.name}") as part:
        if not scenario.own_server:
            part.record.note_server(server)
        try:
            await play(part, server, promises, scenario, way)
        except AssertionError as failed:
            verdict, error = Verdict.FAILED, failed
        except HarnessError as unknown:
            verdict, error = Verdict.CANNOT_TELL, unknown
        if error is not None and bundles is not None:
            bundle = write_bundle(bundles, part.record, f"{verdict}\n\n{error}", error)
    return Result(scenario.name, way, verdict, time.monotonic() - began, error, bundle)


async def judge_all(
    session: Session,
    server: RunningHomeserver,
    promises: BotPromises,
    *,
    only: Iterable[str] = (),
    jobs: int = 2,
    bundles: Path | None = None,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run all scenarios, or `only` some, `jobs` at a time; give the results in the catalogue's order."""
    chosen = chosen_scenarios(only)
    places = asyncio.Semaphore(jobs)

    async def one(scenario: Scenario) -> Result:
        async with places:
            result = await judge(session, server, promises, scenario, bundles=bundles)
        on_result(result)
        return result

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(scenario)) for scenario in chosen]
    return [task.result() for task in running]


def chosen_scenarios(only: Iterable[str] = ()) -> list[Scenario]:
    """Find scenarios by name; all if none is given."""
    names = list(only)
    for name in names:
        if name not in CATALOGUE:
            raise Misuse(f"there is no scenario {name!r}; there are {', '.join(CATALOGUE)}")
    return [scenario for scenario in CATALOGUE.values() if not names or scenario.name in names]


def table(results: Iterable[Result]) -> list[str]:
    """Lay results out for people, one line each."""
    rows = [("scenario", "promised", "verdict", "seconds", "")]
    rows += [(r.scenario, r.way, str(r.verdict), f"{r.seconds:.1f}" if r.seconds else "", r.why) for r in results]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
        for row in rows
    ]


def exit_code(results: Iterable[Result]) -> int:
    """Give 0 if all that was promised passed, 1 if something failed, 3 if something could not be told."""
    verdicts = {result.verdict for result in results}
    return 1 if Verdict.FAILED in verdicts else 3 if Verdict.CANNOT_TELL in verdicts else 0
