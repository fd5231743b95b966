"""An empty database of Synapse's, ready for use: made once for each version and kept in the user's cache.

Making its tables costs Synapse 0.3 s of each start, and a fresh database has some fifty background updates that would
run beside the first requests.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from greenroom.homeserver.settings import HomeserverSettings, Secrets
from greenroom.homeserver.sqlite import compact_databases
from greenroom.homeserver.synapse_config import CONFIG_FILE, DATABASE_FILE, VERSION, write_config
from greenroom.homeserver.warm.client import NotWarm, connect
from greenroom.processes.cache import cache_root
from greenroom.processes.process import Command, ManagedProcess
from greenroom.processes.runs import Head

PROGRAM = ("synapse._scripts.update_synapse_database", "--run-background-updates")
MAKING_TIMEOUT_S = 60.0
Maker = Callable[[Path], Awaitable[bool]]
"""Makes DATABASE_FILE in an empty folder; returns whether it has. May raise NotWarm."""


def found_template(folder: Path) -> Path | None:
    """Return the template in a folder, if there is a whole one; damaged ones are removed. Its name has its hash."""
    for path in folder.glob(f"synapse-{VERSION}-*.db"):
        with suppress(OSError):
            if path.stem.rpartition("-")[2] == _hash(path):
                return path
            path.unlink()
    return None


async def prepared_database(make: Maker) -> Path | None:
    """Return the template, made by `make` if there is none yet. None where it can be neither kept nor made."""
    folder = cache_root() / "templates"
    if found := found_template(folder):
        return found
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / "lock").open("a") as lock:
            await _locked(lock.fileno())
            return found_template(folder) or await _make(folder, make)
    except (NotWarm, OSError):
        return None


async def _locked(descriptor: int) -> None:
    """Take a lock; meanwhile the event loop goes on."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(0.02)


async def _make(folder: Path, make: Maker) -> Path | None:
    draft = Path(tempfile.mkdtemp(dir=folder, prefix=".making-"))
    try:
        if not await make(draft):
            return None
        database = draft / DATABASE_FILE
        compact_databases(draft)
        made = folder / f"synapse-{VERSION}-{_hash(database)}.db"
        return database.replace(made)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def made_here(head: Head | None) -> Maker:
    """Return what makes the database by the warm parent on this machine."""

    async def make(draft: Path) -> bool:
        connection = await connect(head)
        try:
            write_config(draft, HomeserverSettings(), Secrets.fresh(), port=0)
            argv = [sys.executable, "-m", *PROGRAM, "--database-config", str(draft / CONFIG_FILE)]
            process = ManagedProcess(Command("template", argv, draft, dict(os.environ), draft / "log"))
            process.spawn(connection.fork)
            return await ended_well(process)
        finally:
            connection.close()

    return make


async def ended_well(process: ManagedProcess) -> bool:
    """Wait until PROGRAM has made a database; return whether it has."""
    if await process.wait(MAKING_TIMEOUT_S) == 0:
        return True
    await process.kill()
    return False


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
