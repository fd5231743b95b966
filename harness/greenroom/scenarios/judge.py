"""Run scenarios and return verdicts: passed, failed, inconclusive, not promised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from greenroom.errors import CannotTell, Died, HarnessError, StartFailed
from greenroom.evidence.bundle import write_bundle
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.scenarios.catalogue import CATALOGUE, Scenario, find_scenario
from greenroom.scenarios.promises import NOT_PROMISED, BotPromises
from greenroom.scenarios.stage import open_stage
from greenroom.session import Session

WHY_LENGTH = 100


class Verdict(StrEnum):
    """The outcome of one scenario."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    NOT_PROMISED = "not promised"


@dataclass(frozen=True)
class Result:
    """One scenario with its verdict. If it did not pass: `error`, `why` and `bundle`."""

    scenario: str
    way: str
    verdict: Verdict
    seconds: float = 0.0
    error: BaseException | None = None
    bundle: Path | None = None

    @property
    def why(self) -> str:
        """The reason in one line, cut if it is long."""
        line = str(self.error).strip().partition("\n")[0] if self.error else ""
        return line if len(line) <= WHY_LENGTH else f"{line[:WHY_LENGTH]}…"


async def play(
    session: Session, server: RunningHomeserver, promises: BotPromises, scenario: Scenario, way: str
) -> None:
    """Run one scenario to its end, on `server`. A scenario that harms the server gets a server of its own.

    Raises what the scenario raises. A bot that dies or does not start again fails: AssertionError.
    """
    async with AsyncExitStack() as stack:
        if scenario.own_server:
            server = await stack.enter_async_context(session.homeserver(HomeserverSettings()))
        try:
            stage = await stack.enter_async_context(open_stage(session, server, promises, way))
            await scenario.run(stage)
        except (Died, StartFailed) as error:
            if error.name in ("bot", "the bot"):
                raise AssertionError(str(error)) from error
            raise
        except CannotTell as error:
            if scenario.name == "answers":  # this scenario judges the first question itself
                raise AssertionError(str(error.__cause__ or error)) from error
            raise


async def judge(
    session: Session,
    server: RunningHomeserver,
    promises: BotPromises,
    scenario: Scenario,
    *,
    bundles: Path | None = None,
) -> Result:
    """Run one scenario. Return its verdict, with a bundle in the folder `bundles` unless it passed."""
    way = scenario.way_of(promises)
    if way == NOT_PROMISED:
        return Result(scenario.name, way, Verdict.NOT_PROMISED)
    began = time.monotonic()
    verdict, bundle = Verdict.PASSED, None
    problem: BaseException | None = None
    with session.part(f"{promises.name} {scenario.name}") as part:
        if not scenario.own_server:
            part.record.note_server(server)
        try:
            await play(part, server, promises, scenario, way)
        except AssertionError as error:
            verdict, problem = Verdict.FAILED, error
        except HarnessError as error:
            verdict, problem = Verdict.INCONCLUSIVE, error
        if problem is not None and bundles is not None:
            bundle = write_bundle(bundles, part.record, f"{verdict}\n\n{problem}", problem)
    return Result(scenario.name, way, verdict, time.monotonic() - began, problem, bundle)


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
    """Run all scenarios, or `only` some, `jobs` at a time. Return the results in the catalogue's order."""
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
    """Return scenarios by name, in the catalogue's order; without names, all of them."""
    chosen = [find_scenario(name) for name in only]
    return [scenario for scenario in CATALOGUE.values() if not chosen or scenario in chosen]


def table(results: Iterable[Result]) -> list[str]:
    """Return the results as aligned lines: a heading, then one line each."""
    rows = [("scenario", "promised", "verdict", "seconds", "")]
    rows += [(r.scenario, r.way, str(r.verdict), f"{r.seconds:.1f}" if r.seconds else "", r.why) for r in results]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
        for row in rows
    ]


def exit_code(results: Iterable[Result]) -> int:
    """Return 0 if every promised scenario passed, 1 if one failed, 3 if one has no verdict."""
    verdicts = {result.verdict for result in results}
    return 1 if Verdict.FAILED in verdicts else 3 if Verdict.INCONCLUSIVE in verdicts else 0
