"""Run scenarios, judge what they left behind, and show the verdicts.

The verdict of a scenario is a pure function of its record: `judge(observed)`. A bundle keeps the record, so that
every verdict can be computed again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from greenroom.errors import CannotTell, Cause, Died, HarnessError, Misuse, NotReady, StartFailed, cause_lines
from greenroom.evidence.bundle import write_bundle
from greenroom.faults import with_manners
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.hosted import hosted
from greenroom.scenarios.catalogue import CATALOGUE, find_scenario, scenarios_for
from greenroom.scenarios.findings import Finding, Verdict, cannot_tell, nothing_twice, stays_encrypted, trouble
from greenroom.scenarios.homes import homes_apart
from greenroom.scenarios.observed import FILE, Observed, Trouble
from greenroom.scenarios.promises import NOT_PROMISED, BotPromises
from greenroom.scenarios.scenario import Scenario
from greenroom.scenarios.stage import NeverAnswered, open_stage
from greenroom.session import Session

WHY_LENGTH = 100
BAD = (Verdict.FAILED, Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class Result:
    """One scenario with its verdict. `way`: what was promised, or what the bot does; "" if neither."""

    scenario: str
    way: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    bundle: Path | None = None
    observed: Observed | None = None
    warnings: tuple[str, ...] = ()  # of what was seen and breaks no promise

    @property
    def reason(self) -> str:
        """What was seen, or not seen, and its causes: first what tells most. Empty if it passed."""
        missing = any(finding.unanswered for finding in self.findings)  # then the cause says more than the finding
        says, causes = [finding.says for finding in self.findings], cause_lines(self.causes)
        return "\n".join(dict.fromkeys([*causes, *says] if missing else [*says, *causes]))

    @property
    def causes(self) -> list[Cause]:
        """Why, as far as requests and log tell, the best cause first."""
        return list(dict.fromkeys(cause for finding in self.findings for cause in finding.causes))

    @property
    def why(self) -> str:
        """The reason in one line, cut if it is long. Without one, the first warning."""
        says = self.reason or "".join(f"warning: {warning}" for warning in self.warnings[:1])
        line = says.strip().partition("\n")[0]
        return line if len(line) <= WHY_LENGTH else f"{line[:WHY_LENGTH]}…"

    def check(self) -> None:
        """Raise what a test raises: AssertionError if the bot failed, CannotTell if there is no verdict."""
        __tracebackhide__ = True
        if self.verdict is Verdict.FAILED:
            raise AssertionError(self.reason)
        if self.verdict is Verdict.INCONCLUSIVE:
            raise CannotTell(self.scenario, self.reason)


# -- the verdict


def judge(observed: Observed) -> Result:
    """Return the verdict on a record. It depends on nothing else.

    If the bot has promised a way, that way is judged. Otherwise the verdict says which way it does, if any.
    """
    scenario = find_scenario(observed.scenario)
    return replace(_judged(observed, scenario), warnings=tuple(scenario.warns(observed)))


def _judged(observed: Observed, scenario: Scenario) -> Result:
    way = scenario.way_of(observed.promises)
    if way is not None:
        found = findings_of(observed, scenario, way)
        return Result(scenario.name, way, found[0].verdict if found else Verdict.PASSED, found, observed=observed)
    by_way = {one: findings_of(observed, scenario, one) for one in scenario.ways}
    does = next((one for one, found in by_way.items() if not found), None)
    if does is not None:
        return Result(scenario.name, does, Verdict.DOES, observed=observed)
    found = by_way[scenario.ways[0]]
    verdict = Verdict.DOES_NOT if all(f[0].verdict is Verdict.FAILED for f in by_way.values()) else found[0].verdict
    if verdict is not Verdict.DOES_NOT:
        found = next(f for f in by_way.values() if f[0].verdict is Verdict.INCONCLUSIVE)
        verdict = Verdict.INCONCLUSIVE
    return Result(scenario.name, "", verdict, found, observed=observed)


def findings_of(observed: Observed, scenario: Scenario, way: str) -> tuple[Finding, ...]:
    """Return what keeps a record from passing in one way: what was seen, or else what was not seen."""
    rules = (scenario.rule, trouble, nothing_twice, stays_encrypted)
    found = [_explained(finding, observed) for rule in rules for finding in rule(observed, way)]
    return tuple(f for f in found if f.verdict is Verdict.FAILED) or tuple(found)


def _explained(finding: Finding, observed: Observed) -> Finding:
    if finding.unanswered is None:
        return finding
    return replace(finding, causes=tuple(observed.causes(finding.unanswered)))


# -- the run


async def act(session: Session, server: RunningHomeserver, promises: BotPromises, scenario: Scenario) -> Observed:
    """Run one scenario to its end, on `server` or, if that cannot be, on one of its own. Return its record.

    Raises Misuse if the promises cannot be carried out, for example for a variable that has no value.
    """
    observed = Observed(scenario.name, promises)
    async with AsyncExitStack() as stack:
        try:
            settings, service = settings_for(promises, server.manners), None
            if promises.is_appservice:  # its homeserver has to know it from the start
                known = promises.appservice.service(settings.server_name)
                service = await stack.enter_async_context(hosted(session.homeserver, known, settings))
                server = service.server
            elif scenario.own_server:
                server = await stack.enter_async_context(session.homeserver(settings))
            else:
                server = await stack.enter_async_context(with_manners(server, promises.manners))
            home = server
            if scenario.owner_elsewhere:
                server, home = await homes_apart(session, stack, server, settings)
            way = scenario.way_of(promises)
            stage = await stack.enter_async_context(open_stage(session, server, home, promises, way, observed, service))
            await scenario.act(stage)
        except Misuse:
            raise
        except (HarnessError, AssertionError, NeverAnswered) as error:
            observed.trouble, observed.problem = _trouble(error), _without_log_path(str(error))
    return observed


def settings_for(promises: BotPromises, manners: tuple[str, ...] = ()) -> HomeserverSettings:
    """Return the settings of a homeserver for a bot: with the manners that its promises name, else with `manners`."""
    return HomeserverSettings(room_version=promises.room_version, manners=promises.manners or manners)


def _without_log_path(text: str) -> str:
    """Return an error's text without the path of a log, which is deleted after the run. The bundle has the log."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("  full log: "))


def _trouble(error: Exception) -> Trouble:
    if isinstance(error, NeverAnswered):
        return Trouble.NEVER_ANSWERED
    if isinstance(error, Died | StartFailed):
        of_the_bot = error.name in ("bot", "the bot")
        died = Trouble.NOT_READY if isinstance(error, NotReady) else Trouble.DIED
        return died if of_the_bot else Trouble.OURS
    return Trouble.WAITED if isinstance(error, AssertionError) else Trouble.OURS


async def play(session: Session, server: RunningHomeserver, promises: BotPromises, scenario: Scenario) -> None:
    """Run and judge one scenario in a test. Raises AssertionError if the bot fails, CannotTell without a verdict."""
    __tracebackhide__ = True
    judge(await act(session, server, promises, scenario)).check()


async def run(
    session: Session,
    server: RunningHomeserver,
    promises: BotPromises,
    scenario: Scenario,
    *,
    bundles: Path | None = None,
    keep: bool = False,
    again: Callable[[str], str] = lambda scenario: "",
) -> Result:
    """Run and judge one scenario. It leaves a bundle in the folder `bundles` if it did not pass, or with `keep`.

    `again` returns the command that repeats one scenario.
    """
    if scenario.way_of(promises) == NOT_PROMISED:
        return Result(scenario.name, NOT_PROMISED, Verdict.NOT_PROMISED)
    began = time.monotonic()
    with session.part(f"{promises.name} {scenario.name}") as part:
        if not scenario.own_server and not promises.is_appservice:
            part.record.note_server(server)
        observed = await act(part, server, promises, scenario)
        result = judge(observed)
        bundle = None
        if bundles is not None and (keep or result.verdict in (*BAD, Verdict.DOES_NOT)):
            bundle = write_bundle(
                bundles,
                part.record,
                f"{result.verdict}\n\n{result.reason}",
                again=again(scenario.name),
                causes=result.causes,
                files={FILE: observed.to_json()},
                ended=observed.ended or None,
                passed=result.verdict not in (*BAD, Verdict.DOES_NOT),
            )
    return replace(result, seconds=time.monotonic() - began, bundle=bundle)


async def run_all(
    session: Session,
    server: RunningHomeserver,
    promises: BotPromises,
    *,
    only: Iterable[str] = (),
    jobs: int = 1,
    bundles: Path | None = None,
    keep: bool = False,
    again: Callable[[str], str] = lambda scenario: "",
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run all scenarios, or `only` some. Return the results in the catalogue's order.

    One bot runs at a time, unless it promises `several: yes`: then `jobs` of them. Raises Misuse otherwise.
    """
    if jobs > 1 and not promises.several:
        raise Misuse(
            f"{jobs} jobs would start {jobs} copies of the bot at once; it must promise `several: yes` for that"
        )
    first, *others = scenarios_for(promises, only)
    places = asyncio.Semaphore(jobs)

    async def one(scenario: Scenario) -> Result:
        async with places:
            result = await run(session, server, promises, scenario, bundles=bundles, keep=keep, again=again)
        on_result(result)
        return result

    results = [await one(first)]
    tried = results[0].observed
    if tried is not None and not tried.disturbed:  # as it will be in every other scenario
        return results + [not_tried(scenario, promises, results[0]) for scenario in others]
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(scenario)) for scenario in others]
    except ExceptionGroup as group:
        misuse = next((error for error in group.exceptions if isinstance(error, Misuse)), None)
        if misuse is None:
            raise
        raise misuse from None
    return results + [task.result() for task in running]


def not_tried(scenario: Scenario, promises: BotPromises, first: Result) -> Result:
    """Return the result of a scenario that was not run, because the first one came to no answer."""
    way = scenario.way_of(promises)
    if way == NOT_PROMISED:
        return Result(scenario.name, way, Verdict.NOT_PROMISED)
    found = cannot_tell(f"not tried: no answer to the first question ({first.scenario})")
    return Result(scenario.name, way or "", Verdict.INCONCLUSIVE, (found,))


def judge_bundles(folder: Path) -> list[Result]:
    """Judge the kept records in `folder`, or in the bundles below it, again. Raises Misuse if there is none."""
    results = []
    for file in sorted(folder.rglob(FILE)):
        try:
            observed = Observed.from_json(file.read_text())
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Misuse(f"{file} cannot be judged: {error}") from None
        results.append(replace(judge(observed), bundle=file.parent))
    if not results:
        raise Misuse(f"there is no {FILE} in {folder} or below; `greenroom scenarios --keep` leaves one per scenario")
    order = list(CATALOGUE)
    return sorted(results, key=lambda result: order.index(result.scenario))


# -- the table


def table(results: Iterable[Result]) -> list[str]:
    """Return the results as aligned lines: a heading, then one line each."""
    rows = [("scenario", "way", "verdict", "seconds", "")]
    rows += [(r.scenario, r.way, str(r.verdict), f"{r.seconds:.1f}" if r.seconds else "", r.why) for r in results]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
        for row in rows
    ]


def exit_code(results: Iterable[Result]) -> int:
    """Return 0 if every promise was kept, 1 if one was broken, 3 if one has no verdict.

    What is not promised does not count, except a bot that could not be tried at all.
    """
    counted = {result.verdict for result in results if result.way}
    return 1 if Verdict.FAILED in counted else 3 if Verdict.INCONCLUSIVE in counted else 0
