"""What `dev` does once everything runs: show the logs, do what other commands ask, restart the bot after a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import requests
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.follow import HomeserverLines, LogTail, Sources, follow
from greenroom.commands.dev.parts import BOT, HOMESERVER, RESTART, STOP, Parts
from greenroom.errors import Died, HarnessError, with_log
from greenroom.homeserver.interface import Backend, RunningHomeserver
from greenroom.spelling import command

POLL_S = 0.1


async def stay(
    folder: DevFolder,
    sources: Sources | None,
    parts: Parts,
    console: Console,
    *,
    homeserver_log: bool = False,
    outlives_parts: bool = False,
) -> int:
    """Show both logs until we are cancelled or a part dies; with `sources` a bot that ended waits for a change.

    If `outlives_parts`, we stay after the death of a part, so that it can be started again.

    Of the homeserver's log only its trouble is shown, unless `homeserver_log`. Return the exit code of `dev`. The
    reason of a death is the last thing that is printed.
    """
    try:
        async with AsyncExitStack() as stack:
            utc = parts.state[HOMESERVER]["backend"] == Backend.CONTAINER
            shown = HomeserverLines(everything=homeserver_log, utc=utc).shown
            for name, lines in ((HOMESERVER, shown), (BOT, lambda line: [line])):
                tail = LogTail(folder.log(name))
                if name == HOMESERVER:
                    tail.skip()  # its start and the seeding are hundreds of lines
                task = asyncio.ensure_future(follow(tail, _printer(console, name, lines)))
                stack.push_async_callback(_cancelled, task)
            await _watch_over(folder, sources, parts, console, outlives_parts=outlives_parts)
    except Died as error:
        # Without its last log lines: what matters of them is on the screen already.
        console.say(with_log(f"{error.name} died: {error.status}", error.log_path, ()))
    return 1


async def _watch_over(
    folder: DevFolder, sources: Sources | None, parts: Parts, console: Console, *, outlives_parts: bool = False
) -> None:
    """Carry out requests and restart the bot after a change, until a part dies. Raises Died."""
    wanted, told = True, 0  # whether the bot should run, and the pid whose end was reported
    changed = asyncio.ensure_future(sources.changed()) if sources else None
    try:
        while True:
            for request in requests(folder):
                if request.wish.changes(BOT):
                    wanted = request.wish.action != STOP
                    if sources and changed and wanted:  # it starts with what is there now
                        sources.skip()
                        changed = asyncio.ensure_future(sources.changed()) if changed.done() else changed
                await request.carry_out(parts, console.say)
            if outlives_parts:
                await _note_deaths(parts, console, watches=sources is not None)
            if parts.server is not None:
                parts.server.check_alive()
            if sources is None or changed is None:
                if parts.bot is not None:
                    parts.bot.check_alive()
            elif changed.done() and wanted:
                console.say(f"{changed.result().relative_to(sources.folder)} changed: restarting the bot")
                changed = asyncio.ensure_future(sources.changed())
                await _restart_bot(parts, console)
            elif parts.bot is not None and not parts.bot.is_running() and told != parts.bot.pid:
                console.say("the bot ended; it starts again when a source file changes")
                told = parts.bot.pid
            await asyncio.sleep(POLL_S)
    finally:
        if changed is not None:
            await _cancelled(changed)


async def _note_deaths(parts: Parts, console: Console, *, watches: bool) -> None:
    """Say which part has died, once, and note it in `dev.json`."""
    for part, running in ((HOMESERVER, parts.server), (BOT, parts.bot)):
        try:
            if running is not None:
                running.check_alive()
        except Died as error:
            how = ", or change a source file" if watches and part == BOT else ""
            console.say(f"{part} died: {error.status}; start it: {command(f'start {part}')}{how}")
            if isinstance(running, RunningHomeserver):
                await running.close()
            parts.forget(part)
            parts.ended[part] = error.status
            parts.save()


async def _restart_bot(parts: Parts, console: Console) -> None:
    try:
        async for line in parts.act(RESTART, (BOT,)):
            console.say(line)
    except HarnessError as error:
        console.say(str(error))


def _printer(console: Console, name: str, lines: Callable[[str], list[str]]) -> Callable[[str], None]:
    def show(line: str) -> None:
        for shown in lines(line):
            console.log(name, shown)

    return show


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
