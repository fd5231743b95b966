"""The settings and the local state of a bot in a temporary directory, and runs of the reset tool in this process."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from greenroom_reset import local
from greenroom_reset.errors import Refused
from greenroom_reset.local import Paths
from greenroom_reset.plan import Plan, RoomStep
from greenroom_reset.run import Options, reset
from greenroom_reset.screen import Screen
from tests.bot import factory
from tests.bot.factory import ME
from tests.fake_homeserver import PASSWORD, FakeHomeserver

ROOT = Path(__file__).parent.parent.parent
BOT, ALICE = ME, factory.ALICE
SERVER, LOCAL = "server-leave-forget", "local-only"

LIMITED = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 99_999_000}
FORBIDDEN = {"errcode": "M_FORBIDDEN", "error": "no"}


def event(kind: str, content: dict[str, Any], state_key: str = "", sender: str = BOT) -> dict[str, Any]:
    return factory.event(kind, content, state_key=state_key, sender=sender)


def joined(user: str) -> dict[str, Any]:
    return event("m.room.member", {"membership": "join"}, user)


def add_room(server: FakeHomeserver, room_id: str, membership: str = "join", *state: dict[str, Any]) -> None:
    """Make a room that the bot's account is in, is invited to, knocks at, or has left."""
    room = server.room(room_id)
    for put in state:
        room.put(put["type"], put["content"], key=put["state_key"], sender=put["sender"])
    if membership != "join":
        room.member(BOT, membership)


def memberships(server: FakeHomeserver) -> Counter[str]:
    return Counter(room.membership() for room in server.rooms.values())


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeHomeserver]:
    async with FakeHomeserver().running() as running:
        yield running


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The bot's settings, its state in a folder of its own."""
    (tmp_path / "bot").mkdir()
    return {
        "MATRIX_HOMESERVER": "http://127.0.0.1:9",
        "MATRIX_USER_ID": BOT,
        "MATRIX_PASSWORD": PASSWORD,
        "MATRIX_DB_PATH": str(tmp_path / "bot" / "bot.db"),
        "MATRIX_STORE_PATH": str(tmp_path / "bot" / "store"),
    }


@pytest.fixture
def online(environ: dict[str, str], server: FakeHomeserver) -> dict[str, str]:
    """The bot's settings, with the fake homeserver."""
    return {**environ, "MATRIX_HOMESERVER": server.url}


@pytest.fixture
def bot_state(environ: dict[str, str]) -> Path:
    """What a bot that ran once leaves: its database, a saved session, key files. Returns the folder."""
    db, store = Path(environ["MATRIX_DB_PATH"]), Path(environ["MATRIX_STORE_PATH"])
    make_database(db)
    store.mkdir()
    (store / "session.json").write_text(json.dumps({"user_id": BOT, "device_id": "D", "access_token": "saved"}))
    for name in ("db", "trusted_devices", "blacklisted_devices", "ignored_devices"):
        (store / f"{BOT}_D.{name}").write_text("")
    return db.parent


def make_database(path: Path, application_id: int = 0x47524E52, table: str = "meta") -> None:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA application_id = {application_id}")
    if table:
        db.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, value TEXT)")
    db.commit()
    db.close()


def refuses(environ: dict[str, str], match: str, **changed: object) -> None:
    """Assert that a local survey with these settings is refused in one line."""
    settings = {**environ, **{key: str(value) for key, value in changed.items()}}
    with pytest.raises(Refused, match=match) as refused:
        local.survey(Paths.from_environ(settings))
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def room_of(plan: Plan, room_id: str) -> RoomStep:
    assert plan.server
    return next(room for room in plan.server.rooms if room.room_id == room_id)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, to show that nothing changed."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def schema() -> dict[str, Any]:
    """Return the JSON Schema that docs/reset.md shows."""
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "reset.md").read_text(), re.DOTALL)
    return dict(json.loads(block))


async def start(environ: dict[str, str], *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a server reset as a process of its own, with pipes for its output."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "greenroom_reset", "--mode", SERVER, "--yes", *arguments),
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@dataclass
class Shown:
    """A screen without a terminal, unless `answer` is given. `text` holds everything that it showed.

    `plan` is the last run's, also when that run raised. `timing` is the screen's clock and sleep, if given.
    """

    text: io.StringIO = field(default_factory=io.StringIO)
    answer: str | Callable[[], str] | None = None
    timing: dict[str, Any] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan(dry_run=False))

    async def reset(self, environ: dict[str, str], *modes: str, **options: Any) -> Plan:
        console = Console(file=self.text, highlight=False, soft_wrap=True, width=200)
        if self.answer is not None:
            said = self.answer
            console.input = lambda prompt: said() if callable(said) else said  # type: ignore[method-assign,assignment]
        screen = Screen(json=False, console=console, interactive=self.answer is not None, **self.timing)
        wanted = Options(frozenset(modes), **options)  # type: ignore[arg-type]
        self.plan = Plan(wanted.dry_run)
        await reset(self.plan, wanted, environ, screen)
        return self.plan


def acknowledged(seen: Shown | str) -> list[str]:
    """The rooms that a run printed as acknowledged by the homeserver."""
    text = seen if isinstance(seen, str) else seen.text.getvalue()
    return re.findall(r"^  acknowledged, .*?: (?:room|Space) (?:\".*\" )?(!\S+)", text, re.M)


@pytest.fixture
def shown() -> Shown:
    return Shown()
