"""`python -m greenroom_reset`: the command line."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import NoReturn, get_args

from greenroom_bot.config import settings_table
from greenroom_bot.matrix.errors import BotError
from greenroom_reset.errors import Ended, Refused
from greenroom_reset.plan import Plan, printable
from greenroom_reset.run import DEFAULT_MODE, Mode, Options, reset
from greenroom_reset.screen import Screen, heeded_signals
from greenroom_reset.summary import document, summary_lines

DESCRIPTION = """\
A clean room for a bot under development. Never for production accounts: it is a development tool.
A normal restart needs none of this, because the bot recovers itself. A reset is the rare, explicit other way.

--mode local-only           (the default) delete the bot's local files: the database and the device's store.
                            No network. The rooms on the server stay, and the bot's next start rebuilds from them.
--mode server-leave-forget  let the bot's account leave and forget its rooms, decline its invites, and forget
                            what it left before. Local files stay. The rooms live on for everybody else.
Both may be given; the server comes first. --dry-run prints the plan and changes nothing.
Ctrl-C, SIGTERM and SIGHUP end a run with a summary of what is done. Run it again to finish.
"""
EPILOG = """\
exit status: 0 all done and verified, 1 something failed or is unverified, or a signal ended the run,
             2 refused or misused, 4 credentials, or the homeserver ended the session

settings, the bot's own:
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message} (see python -m greenroom_reset --help)")


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar. Tests compare its help with the documents."""
    settings = "\n".join(f"  {name:<21} {meaning}" for name, meaning, _ in settings_table() if name in _OUR_SETTINGS)
    made = _Parser(
        prog="python -m greenroom_reset",
        description=DESCRIPTION,
        epilog=EPILOG + settings,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--mode", action="append", choices=get_args(Mode), help="repeatable; local-only if absent")
    made.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")
    made.add_argument("--yes", action="store_true", help="do not ask; required where there is no terminal")
    made.add_argument("--json", action="store_true", help="print the summary as one JSON document on stdout")
    made.add_argument("--i-know-this-is", metavar="HOST", help="the homeserver's host, if it is not this machine")
    return made


_OUR_SETTINGS = (
    *("MATRIX_HOMESERVER", "MATRIX_USER_ID", "MATRIX_PASSWORD", "MATRIX_ACCESS_TOKEN"),
    *("MATRIX_DB_PATH", "MATRIX_STORE_PATH"),
)


_EXPECTED = (Refused, Ended, BotError, OSError)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one reset and return its exit code. Every expected failure is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a room may have a name that this terminal cannot show
            stream.reconfigure(errors="replace")
    try:
        return asyncio.run(run(parser().parse_args(argv), environ))
    except _EXPECTED as error:
        _say(error, "Nothing was changed" if isinstance(error, Ended) else "")
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:  # before `run` listens for signals
        _say(Ended("ended by SIGINT"), "Nothing was changed")
        return 1


async def run(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run one reset, print its summary, and return its exit code.

    The summary is owed from the first step that may change something, whatever ends the run. Raises what ends it before
    that step: Refused, Ended, the bot's errors, or OSError.
    """
    options = Options(frozenset(given.mode or [DEFAULT_MODE]), given.dry_run, given.yes, given.i_know_this_is)
    plan, screen = Plan(given.dry_run), Screen(json=given.json)
    task = asyncio.ensure_future(reset(plan, options, environ, screen))
    with _cancelled_by_signals(task) as signals:
        await asyncio.wait([task])
        error = Ended(f"ended by {signals[0].name}") if task.cancelled() else task.exception()
        if error and not plan.begun:
            raise error
        if error:
            plan.end(str(error), getattr(error, "exit_code", 1))
        if given.json:
            print(json.dumps(document(plan), indent=2), flush=True)
        else:
            screen.lines(summary_lines(plan))
        if error and not isinstance(error, _EXPECTED):
            raise error
        if error:
            _say(error, "What is done stays done; run this again to finish")
        return plan.exit_code


@contextmanager
def _cancelled_by_signals(task: asyncio.Future[None]) -> Iterator[list[signal.Signals]]:
    """Cancel a task at Ctrl-C, SIGTERM and SIGHUP for the length of a `with`: it gives up requests and signs out.

    Yields the list of signals so far.
    """
    loop, received = asyncio.get_running_loop(), list[signal.Signals]()

    def end(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    heeded = heeded_signals()
    for number in heeded:
        loop.add_signal_handler(number, end, number)
    try:
        yield received
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)


def _say(error: BaseException, more: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(f"reset: {printable('. '.join(filter(None, (str(error), more))))}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
