"""`greenroom scenarios`: run a bot through all scenarios and print the table."""

from __future__ import annotations

import asyncio
import shlex
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from greenroom.errors import Misuse
from greenroom.evidence import FAILURES
from greenroom.faults.manners import parse_manners
from greenroom.homeserver.kind import find_kind
from greenroom.scenarios.catalogue import scenarios_for
from greenroom.scenarios.findings import Verdict
from greenroom.scenarios.first_contact import check_new, promises_text
from greenroom.scenarios.judge import BAD, Result, exit_code, judge_bundles, run_all, settings_for, table
from greenroom.scenarios.load import check_command, load_promises, parse_promises
from greenroom.scenarios.promises import BotPromises
from greenroom.scenarios.report import ROOMS, column_of, write_index
from greenroom.session import Session
from greenroom.spelling import command as spelled


@dataclass(frozen=True)
class Options:
    """The options of the command, as they were typed."""

    bot: str = ""
    promises: str = ""
    ask: str = ""
    answer: str = ""
    encrypted: bool = False
    only: str = ""
    jobs: str = "1"
    room_version: str = ""
    manners: str = ""
    write: str = ""
    keep: bool = False
    report: str = ""
    again: str = ""
    homeserver: str = "synapse"
    backend: str = "auto"

    @property
    def names(self) -> list[str]:
        """The scenarios of --only."""
        return _list(self.only)

    @property
    def room_versions(self) -> list[str]:
        """The room versions to run on, "" for the homeserver's own."""
        return _list(self.room_version) or [""]


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def scenarios(options: Options) -> int:
    """Check the options, run the scenarios, print the results. Return the exit code."""
    if options.again:
        if options.bot or options.promises or options.report:
            raise Misuse("--again judges what an earlier run has left: leave out --bot, --promises and --report")
        kept = judge_bundles(Path(options.again))
        show(kept)
        return exit_code(kept)
    known = what_to_judge(options)
    if options.manners:
        known = known.model_copy(update={"manners": parse_manners(options.manners)})
    scenarios_for(known, options.names)
    for version in options.room_versions:
        find_kind(options.homeserver).check_room_version(version or known.room_version)
    if not options.jobs.isdigit() or not int(options.jobs):
        raise Misuse(f"--jobs must be a number above 0, not {options.jobs!r}")
    if int(options.jobs) > 1 and not known.several:
        raise Misuse(f"--jobs {options.jobs} starts several copies of the bot at once; it must promise `several: yes`")
    if options.report and Path(options.report).is_file():
        raise Misuse(f"--report names a folder for the report, and {options.report} is a file")
    if options.write:
        check_new(Path(options.write))
        if len(options.room_versions) > 1:
            raise Misuse("--write goes with one --room-version, not with several")
    results = asyncio.run(_run(known, options))
    if options.write:
        Path(options.write).write_text(promises_text(known, results))
        print(f"\nwritten: {options.write}; next: {spelled('scenarios')} --promises {options.write}")
    return exit_code(results)


def what_to_judge(options: Options) -> BotPromises:
    """Return the promises in a file, or those of a command line: only that it answers, perhaps in encrypted rooms."""
    if bool(options.bot) == bool(options.promises):
        raise Misuse("name either --bot 'python my_bot.py' or --promises my_bot.yaml")
    if options.promises:
        if options.ask or options.answer or options.encrypted or options.write:
            raise Misuse("--ask, --answer, --encrypted and --write belong to --bot; a promises file has its own fields")
        promises = load_promises(Path(options.promises))
        check_command(promises)
        return promises
    given = {key: value for key in ("ask", "answer", "encrypted") if (value := getattr(options, key))}
    return parse_promises({"command": options.bot, **given}, "--bot", Path.cwd())


async def _run(known: BotPromises, options: Options) -> list[Result]:
    """Run everything once for each room version, and print a table for each."""
    session = Session.begin(options.homeserver, options.backend)
    bundles = Path(options.report) if options.report else FAILURES / time.strftime("%Y%m%d-%H%M%S")
    columns: dict[str, list[Result]] = {}
    try:
        for version in options.room_versions:
            promises = known.model_copy(update={"room_version": version}) if version else known
            async with session.homeserver(settings_for(promises)) as server:
                rooms = f", rooms of version {promises.room_version}" if promises.room_version else ""
                print(f"{known.name} on {server.name}{rooms}", flush=True)
                results = await run_all(
                    session,
                    server,
                    promises,
                    only=options.names,
                    jobs=int(options.jobs),
                    bundles=bundles / f"{ROOMS}{version}" if version else bundles,
                    keep=options.keep or bool(options.report),
                    again=partial(repeat, options),
                    on_result=_say,
                )
            show(results, options)
            columns[column_of(known.name, version)] = results
    finally:
        session.close()
    every = [result for results in columns.values() for result in results]
    if options.report or any(result.bundle for result in every):
        index = write_index(bundles, columns)
        print(f"to look at: {index} ({spelled(f'show {shlex.quote(str(bundles))}')})")
    return every


def show(results: list[Result], options: Options | None = None) -> None:
    """Print the table, and for each scenario that did not pass its reasons, its bundle and the command to repeat it."""
    print()
    print("\n".join(table(results)))
    for result in results:
        if result.verdict in BAD and result.bundle is not None:
            print(f"\n{result.scenario}: {result.verdict}\n{result.reason}\n  bundle: {result.bundle}")
            if options is not None:
                print(f"  this one again: {repeat(options, result.scenario)}")
    if folders := {result.bundle.parent for result in results if result.bundle is not None}:
        print(f"\nwhat was seen: {', '.join(map(str, sorted(folders)))}")


def repeat(options: Options, scenario: str) -> str:
    """Return the command that runs one scenario again."""
    given = {"bot": options.bot, "promises": options.promises, "ask": options.ask, "answer": options.answer}
    given |= {"room-version": options.room_version, "manners": options.manners}
    words = [word for name, value in given.items() if value for word in (f"--{name}", value)]
    words += ["--encrypted"] if options.encrypted else []
    return f"{spelled('scenarios')} {shlex.join([*words, '--only', scenario])}"


def _say(result: Result) -> None:
    if result.verdict is not Verdict.NOT_PROMISED:
        print(f"  {result.scenario}: {result.verdict}", flush=True)
