"""`greenroom scenarios`: run a bot through all scenarios and print the table."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from greenroom.errors import Misuse
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.scenarios.judge import Result, Verdict, chosen_scenarios, exit_code, judge_all, table
from greenroom.scenarios.load import load_promises, parse_promises
from greenroom.scenarios.promises import BotPromises
from greenroom.session import Session

FAILURES = Path(".greenroom/failures")


def scenarios(
    *,
    bot: str = "",
    promises: str = "",
    ask: str = "",
    answer: str = "",
    only: str = "",
    jobs: str = "2",
    homeserver: str = "synapse",
    backend: str = "auto",
) -> int:
    """Check the options, run the scenarios, print the results. Return the exit code."""
    known = what_to_judge(bot, promises, ask, answer)
    names = [name.strip() for name in only.split(",") if name.strip()]
    chosen_scenarios(names)
    if not jobs.isdigit() or not int(jobs):
        raise Misuse(f"--jobs must be a number above 0, not {jobs!r}")
    return asyncio.run(_scenarios(known, names, int(jobs), homeserver, backend))


def what_to_judge(bot: str, promises: str, ask: str, answer: str) -> BotPromises:
    """Return the promises in a file, or the default promises for a command line."""
    if bool(bot) == bool(promises):
        raise Misuse("name either --bot 'python my_bot.py' or --promises my_bot.yaml")
    if promises:
        if ask or answer:
            raise Misuse("--ask and --answer belong to --bot; a promises file has its own `ask` and `answer`")
        return load_promises(Path(promises))
    given = {key: value for key, value in (("ask", ask), ("answer", answer)) if value}
    return parse_promises({"command": bot, **given}, "--bot", Path.cwd())


async def _scenarios(known: BotPromises, only: list[str], jobs: int, homeserver: str, backend: str) -> int:
    session = Session.begin(homeserver, backend)
    try:
        async with session.homeserver(HomeserverSettings()) as server:
            print(f"{known.name} on {server.name}")
            bundles = FAILURES / time.strftime("%Y%m%d-%H%M%S")
            results = await judge_all(session, server, known, only=only, jobs=jobs, bundles=bundles, on_result=_say)
    finally:
        session.close()
    print()
    print("\n".join(table(results)))
    for result in results:
        if result.error is not None:
            print(f"\n{result.scenario}: {result.verdict}\n{result.error}\n  bundle: {result.bundle}")
    return exit_code(results)


def _say(result: Result) -> None:
    if result.verdict is not Verdict.NOT_PROMISED:
        print(f"  {result.scenario}: {result.verdict}", flush=True)
