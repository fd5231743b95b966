"""How much memory a live bot needs with many rooms, beside the same bot with few.

The measure is the proportional set size (PSS) of the bot's process: its own pages, and its share of those that it has
in common with other processes. It is read when a bot that has been started again on filled records says that it is
live. A bot with few rooms and a bot with many take turns, each on a homeserver of its own.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from greenroom.bot_process import OUR_BOT, BotSettings, RunningBot, matrix_environment
from greenroom.session import Session
from tests.bench.report import Report
from tests.bench.seeded import homeserver_with
from tests.bench.side_by_side import counts, main, say, take_turns

READY_S = 120.0


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Start a bot for each number of rooms, and read its memory at every restart."""
    report.sizes = "rooms"
    sizes = counts(options.rooms)
    session = Session.begin(backend="process")
    try:
        async with AsyncExitStack() as stack:
            ways = {}
            for count in sizes:
                say(f"  {count} rooms")
                ways[str(count)] = partial(memory_after_restart, await bot_with(stack, session, count))
            found = await take_turns(ways, options.rounds)
    finally:
        session.close()
    figures = [report.figure("live bot, PSS", found[str(count)], "MiB", count) for count in sizes]
    report.target("bot memory, most rooms beside fewest", figures[-1], figures[0], at_most=1.5)


async def bot_with(stack: AsyncExitStack, session: Session, count: int) -> RunningBot:
    """Run a bot in that many rooms until the stack is closed."""
    server, account = await stack.enter_async_context(homeserver_with(session, count))
    folder = session.run.new_folder("bot")
    environment = matrix_environment(server, account, folder)
    settings = BotSettings(OUR_BOT, folder, environment, ready_timeout_s=READY_S)
    return await stack.enter_async_context(settings.running(session.run))


async def memory_after_restart(bot: RunningBot) -> float:
    """Restart a bot; return its memory when it is live again."""
    await bot.restart()
    return pss_mib(bot.pid)


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main("memory", __doc__, measure, rounds=5, rooms="10,1000"))
