"""What the stage does to the parts of a dev environment: kill, freeze, thaw, and lose what the bot remembers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from greenroom.bot_process import RunningBot
from greenroom.commands.dev.parts import BOT, HOMESERVER, PARTS, START, Parts
from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver.container.archive import BESIDE_SQLITE
from greenroom.processes.procfs import is_frozen
from greenroom.spelling import command

KILL, FREEZE, THAW, LOSE = "kill", "freeze", "thaw", "lose"
ACTIONS = (KILL, FREEZE, THAW, LOSE)
VARIABLES = {"database": "MATRIX_DB_PATH", "store": "MATRIX_STORE_PATH"}  # what can be lost, and where the bot keeps it


def check_breaking(action: str, part: str, name: str) -> None:
    """Raise Misuse unless one part can be broken in this way."""
    able = PARTS if action == KILL else (BOT,)
    if part not in able:
        raise Misuse(f"{action} needs {' or '.join(able)}, not {part!r}")
    if action == LOSE and name not in VARIABLES:
        raise Misuse(f"the bot can lose its {' or '.join(VARIABLES)}, not {name!r}")


async def breaking(parts: Parts, action: str, part: str, name: str) -> AsyncIterator[str]:
    """Break a part and yield a line about each step. `dev.json` is right after each one.

    Raises HarnessError if the part does not run, or if another process started it.
    """
    if action == KILL:
        yield await _kill(parts, part)
    elif action == LOSE:
        paths = _paths(parts, name)
        runs = parts.bot is not None and parts.bot.is_running()
        if runs:
            yield await _kill(parts, BOT)
        yield await asyncio.to_thread(_lost, paths, name)
        if runs:  # a bot that is down stays so, and the drift can be seen
            async for line in parts.act(START, (BOT,)):
                yield line
    else:
        yield _frozen(_own_bot(parts), freeze=action == FREEZE)


async def _kill(parts: Parts, part: str) -> str:
    if part == BOT:
        await _own_bot(parts).kill()
    else:
        if parts.server is None:
            raise _not_running(HOMESERVER)
        await parts.server.kill()
        await parts.server.close()  # a container that has ended still holds the data
    parts.forget(part)
    parts.ended[part] = "killed with SIGKILL"
    parts.save()
    return f"{part}: killed"


def _frozen(bot: RunningBot, *, freeze: bool) -> str:
    if is_frozen(bot.pid) == freeze:
        return f"bot: {'frozen already' if freeze else 'not frozen'}, pid {bot.pid}"
    if freeze:
        bot.pause()
    else:
        bot.resume()
    return f"bot: {'frozen' if freeze else 'thawed'}, pid {bot.pid}"


def _own_bot(parts: Parts) -> RunningBot:
    if parts.bot is None or not parts.bot.is_running():
        raise _not_running(BOT)
    return parts.bot


def _not_running(part: str) -> HarnessError:
    return HarnessError(f"the {part} does not run here; try: {command(f'start {part}')}")


def _paths(parts: Parts, name: str) -> list[Path]:
    """Return the files or the folder to delete. Raises HarnessError for a path outside the bot's own folder."""
    variable = VARIABLES[name]
    own = parts.folder.bot.resolve()
    said = parts.environment.get(variable, "")
    path = (parts.folder.project / said).resolve()
    if not said or own not in path.parents:
        raise HarnessError(f"{variable} is {said or 'not set'}, which is not inside {own}; nothing was deleted")
    return [path, *(path.with_name(path.name + end) for end in BESIDE_SQLITE if name == "database")]


def _lost(paths: list[Path], name: str) -> str:
    gone = [path for path in paths if path.exists()]
    for path in gone:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return f"bot: {name} {'deleted' if gone else 'already absent'}, {paths[0]}"
