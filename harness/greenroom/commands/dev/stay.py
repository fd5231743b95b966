"""What `dev` does once everything runs: show the logs and, with `--watch`, restart the bot after a change."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

from greenroom.bot_process import RunningBot
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.follow import LogTail, Sources, follow
from greenroom.errors import Died, HarnessError
from greenroom.homeserver import RunningHomeserver

WATCH_DEATH_S = 0.2


async def stay(
    folder: DevFolder,
    sources: Sources | None,
    server: RunningHomeserver,
    bot: RunningBot,
    console: Console,
) -> int:
    """Stream both logs until we are cancelled or a process ends; with `sources` a bot that ended waits for a change.

    Return the exit code of `dev`.
    """
    async with AsyncExitStack() as stack:
        for name in ("homeserver", "bot"):
            line = _printer(console, name)
            tail = LogTail(folder.log(name))
            if name == "homeserver":
                tail.skip()  # its start and the seeding are hundreds of lines
            task = asyncio.ensure_future(follow(tail, line))
            stack.push_async_callback(_cancelled, task)
        while True:
            try:
                server.check_alive()
                if sources:
                    await _restart_on_change(sources, server, bot, console)
                else:
                    bot.check_alive()
                    await asyncio.sleep(WATCH_DEATH_S)
            except Died as error:
                await asyncio.sleep(0.3)  # let the followers print the last lines
                console.say(str(error))
                return 1


async def _restart_on_change(sources: Sources, server: RunningHomeserver, bot: RunningBot, console: Console) -> None:
    """Restart the bot when a source file changes; a bot that cannot start waits for the next change."""
    watching = asyncio.ensure_future(sources.changed())
    try:
        told = not bot.is_running()
        while not watching.done():
            server.check_alive()
            if not bot.is_running() and not told:
                console.say("the bot ended; it starts again when a source file changes")
                told = True
            await asyncio.wait({watching}, timeout=WATCH_DEATH_S)
        console.say(f"{watching.result().relative_to(sources.folder)} changed: restarting the bot")
    finally:
        await _cancelled(watching)
    try:
        await bot.restart()
        console.say(f"bot: live, pid {bot.pid}")
    except HarnessError as error:
        console.say(str(error))


def _printer(console: Console, name: str) -> Any:
    return lambda line: console.log(name, line)


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
