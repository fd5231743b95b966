"""The data of seeded homeservers: from a snapshot, which is made first where there is none.

A snapshot is made by a throwaway homeserver that is seeded from nothing and used by nobody else. So it holds what the
blueprint says and nothing more, and no secret of a homeserver that people use. If making it is interrupted, it is made
from nothing again: a seeding that was killed may leave half-made rooms.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import HarnessError
from greenroom.homeserver.choose import Choice, make_homeserver, version_of
from greenroom.homeserver.interface import Capability, RunningHomeserver
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.processes.runs import Run
from greenroom.seed import Seeded, seed
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.logins import accounts_of
from greenroom.snapshots import kept
from greenroom.snapshots.cache import SnapshotCache
from greenroom.snapshots.kept import Snapshot, SnapshotDamaged
from greenroom.snapshots.key import data_settings, snapshot_key

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Filled:
    """The data of a seeded homeserver that now lies in a folder. `made`: it was seeded for this, in so many steps."""

    rooms: dict[str, str]
    made: int | None = None

    def seeded(self, server: RunningHomeserver, blueprint: Blueprint) -> Seeded:
        """Return what the homeserver has that was started on the data with the secrets in it."""
        return Seeded(accounts_of(blueprint, server), dict(self.rooms), self.made or 0)


@dataclass(frozen=True)
class Nursery:
    """Fills folders with the data of seeded homeservers of one choice. `run` notes what it starts for that."""

    choice: Choice
    run: Run
    log_path: Path  # of the throwaway homeserver
    cache: SnapshotCache

    async def fill(
        self,
        folder: Path,
        settings: HomeserverSettings,
        blueprint: Blueprint,
        *,
        leave_out: Collection[str] = (),
        on_progress: Progress = lambda done, total: None,
    ) -> Filled | None:
        """Put the data of a freshly seeded homeserver into `folder`, except the files named in `leave_out`.

        Return None where no snapshot can be kept (the cache is off or cannot be written, or the homeserver's data
        cannot be copied): then seed the homeserver when it runs. Raises what starting and seeding raise.
        """
        version = await asyncio.to_thread(version_of, self.choice)
        key = snapshot_key(self.choice, version, settings, blueprint)
        if filled := await self._restore(key, folder, leave_out):
            return filled
        made = await self._make(key, settings, blueprint, on_progress)
        return await self._restore(key, folder, leave_out, made) if made is not None else None

    async def _restore(
        self, key: str, folder: Path, leave_out: Collection[str], made: int | None = None
    ) -> Filled | None:
        """Copy the snapshot. Return None if there is none, or if it is damaged: then it is removed."""
        with self.cache.reading(key) as snapshot:
            if snapshot is None:
                return None
            try:
                return await asyncio.to_thread(_copy, snapshot, folder, leave_out, made)
            except SnapshotDamaged:
                self.cache.discard(snapshot.folder)
                return None

    async def _make(
        self, key: str, settings: HomeserverSettings, blueprint: Blueprint, on_progress: Progress
    ) -> int | None:
        """Seed a throwaway homeserver and keep its data. Return the number of steps; None if nothing can be kept."""
        if not self._can_keep():
            return None
        draft = kept.new_draft(self.cache.folder)
        throwaway = make_homeserver(self.choice, draft, data_settings(settings), log_path=self.log_path, run=self.run)
        try:
            async with throwaway.running() as server:
                if not server.can(Capability.SNAPSHOT):
                    return None
                seeded = await seed(server, blueprint, on_progress=on_progress)
                with self.cache.writing(key, {"blueprint": blueprint.name, "rooms": seeded.rooms}) as files:
                    await server.copy_data(files)
                return seeded.steps_done
        finally:
            await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)

    def _can_keep(self) -> bool:
        if self.cache.limit_bytes:
            with suppress(OSError, HarnessError):
                self.cache.prepare()
                return True
        return False


def _copy(snapshot: Snapshot, folder: Path, leave_out: Collection[str], made: int | None) -> Filled:
    snapshot.copy_to(folder, leave_out=leave_out)
    return Filled(dict(snapshot.facts["rooms"]), made)
