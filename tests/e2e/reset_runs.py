"""Runs of the reset tool as a process of its own, and an account with rooms for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.bot_process import RunningBot, matrix_environment
from greenroom.homeserver import RunningHomeserver
from greenroom.people.accounts import Account, register, unique_localpart
from greenroom.people.matrix_api import MatrixApi, path

SERVER, LOCAL = ("--mode", "server-leave-forget"), ()  # local-only is the default mode


@dataclass
class Ran:
    """How one run ended: its exit code, its JSON, and what it told a person."""

    code: int
    summary: dict[str, Any]
    told: str

    def rooms(self, **wanted: object) -> list[str]:
        """Ids of the rooms in the summary with these fields, in its order."""
        rooms = self.summary["server"]["rooms"]
        return [room["room_id"] for room in rooms if room.items() >= wanted.items()]


async def start_reset(env: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """Start `python -m greenroom_reset` without a terminal."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "greenroom_reset", "--json", *arguments),
        env={**os.environ, **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run_reset(env: Mapping[str, str], *arguments: str) -> Ran:
    """Run `python -m greenroom_reset` to its end."""
    process = await start_reset(env, *arguments)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, json.loads(out or b"{}"), err.decode())


async def acknowledged(process: asyncio.subprocess.Process, at_least: int = sys.maxsize) -> set[str]:
    """Read what a run prints, to its end or until so many rooms were acknowledged, and return these rooms."""
    rooms: set[str] = set()
    assert process.stderr is not None
    while len(rooms) < at_least and (line := await process.stderr.readline()):
        if found := re.match(r"  acknowledged, leave and forget: room .*?(![^ ]+)", line.decode().rstrip()):
            rooms.add(found[1])
    return rooms


def local_state(bot: RunningBot) -> list[str]:
    """What there is of the bot's local state: names of its database and its store."""
    paths = [Path(bot.env[name]) for name in ("MATRIX_DB_PATH", "MATRIX_STORE_PATH")]
    return [path.name for path in paths if path.exists()]


def saved_token(bot: RunningBot) -> str:
    """The access token in the bot's saved session."""
    return str(json.loads(Path(bot.env["MATRIX_STORE_PATH"], "session.json").read_text())["access_token"])


@dataclass
class Hermit:
    """An account with rooms and the environment of a bot that owns it, but no bot."""

    account: Account
    env: dict[str, str]
    api: MatrixApi

    async def make_rooms(self, count: int) -> set[str]:
        """Make that many rooms, several at once.

        Their `creation_content` differs: a Conduit makes one room of two that are alike (manner `alike-rooms-are-one`).
        """
        numbers = iter(range(count))
        made = []

        async def worker() -> None:
            for number in numbers:
                body = {"name": f"C{number}", "creation_content": {"n": number}}
                answer = await self.api.call("POST", path("createRoom"), token=self.account.access_token, json=body)
                made.append(answer["room_id"])

        await asyncio.gather(*(worker() for _ in range(8)))
        rooms = set(made)
        assert len(rooms) == count, f"{count} rooms were asked for, and the homeserver made {len(rooms)}"
        return rooms

    async def joined_rooms(self) -> set[str]:
        answer = await self.api.call("GET", path("joined_rooms"), token=self.account.access_token)
        return set(answer["joined_rooms"])


@asynccontextmanager
async def hermit_on(server: RunningHomeserver, folder: Path) -> AsyncIterator[Hermit]:
    async with MatrixApi(server.url) as api:
        account = await register(server, unique_localpart("hermit"), api=api)
        yield Hermit(account, matrix_environment(server, account, folder), api)
