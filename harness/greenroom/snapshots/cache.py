"""The cache of snapshots, shared by all projects of a user. Its size is bounded: what was not used for longest goes."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.errors import HarnessError, Misuse
from greenroom.processes.cache import FOLDER, cache_root
from greenroom.snapshots import kept
from greenroom.snapshots.kept import Snapshot, SnapshotDamaged, SnapshotExists

SIZE_MB = "GREENROOM_CACHE_SIZE_MB"
DEFAULT_SIZE_MB = 2000  # a homeserver with 10 rooms takes 3 MB, one with 500 rooms 29 MB


@dataclass(frozen=True)
class SnapshotCache:
    """Snapshots by key, in `folder`. With a limit of 0 nothing is kept.

    A snapshot may vanish at any time except while it is read: another process may have made room for a newer one.
    """

    folder: Path
    limit_bytes: int

    @classmethod
    def chosen(cls, environ: Mapping[str, str] = os.environ) -> SnapshotCache:
        """Return the cache that the environment names, else the user's. Raises Misuse for a size that is no number."""
        size = environ.get(SIZE_MB) or str(DEFAULT_SIZE_MB)
        if not size.isdecimal():
            raise Misuse(
                f"{SIZE_MB} is {size!r}; it must be a whole number of megabytes, for instance {DEFAULT_SIZE_MB}"
            )
        return cls(cache_root(environ) / "snapshots", int(size) * 1_000_000)

    @contextmanager
    def reading(self, key: str) -> Iterator[Snapshot | None]:
        """Yield the snapshot with that key, or None. During the block no other process removes it to make room.

        A snapshot that is found to be damaged is removed and counts as absent. Its files are compared only when they
        are copied: on SnapshotDamaged call `discard`.
        """
        path = self.folder / key
        with _locked(path, fcntl.LOCK_SH) as mine:
            yield self._usable(path) if mine else None

    def _usable(self, path: Path) -> Snapshot | None:
        try:
            snapshot = kept.read(path)
        except SnapshotDamaged:
            self.discard(path)
            return None
        if snapshot is not None:
            os.utime(path)  # the time of its last use
        return snapshot

    @contextmanager
    def writing(self, key: str, facts: Mapping[str, Any]) -> Iterator[Path]:
        """Yield an empty folder to fill; it becomes the snapshot with that key, and the cache is brought to its bound.

        If another process has made the same snapshot meanwhile, that one stays. Raises HarnessError if the cache is
        not the user's own, or its disk is full.
        """
        self.prepare()
        try:
            with kept.writing(self.folder / key, facts) as files:
                yield files
        except SnapshotExists:
            pass  # one key stands for one content
        except OSError as error:
            problem = f"no snapshot can be kept in {self.folder}: {error.strerror or error}"
            raise HarnessError(f"{problem}; try: make room there, or {SIZE_MB}=0 to keep none") from error
        self.prune()

    def prepare(self) -> None:
        """Make the cache's folder, private. Raises HarnessError if somebody else has prepared it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = self.folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise HarnessError(f"{self.folder} is not a folder of yours; set {FOLDER} to one that is")

    def discard(self, path: Path) -> None:
        """Remove a damaged snapshot. Whoever is reading it finds it damaged too."""
        self._remove(path)

    def prune(self, limit_bytes: int | None = None) -> list[str]:
        """Remove snapshots until the rest is within the limit (default: the cache's own); return their keys.

        The one that was not used for longest goes first. One that is being read stays.
        """
        kept.remove_drafts(self.folder)
        limit = self.limit_bytes if limit_bytes is None else limit_bytes
        sizes = {path: _size_bytes(path) for path in _by_last_use(self.folder)}
        total, removed = sum(sizes.values()), []
        for path, size in sizes.items():
            if total <= limit:
                break
            if self._remove_idle(path):
                total -= size
                removed.append(path.name)
        return removed

    def _remove_idle(self, path: Path) -> bool:
        with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB) as mine:
            if mine:
                self._remove(path)
            return mine

    def _remove(self, path: Path) -> None:
        """Move a snapshot out of the way in one step, then remove it. A crash in between leaves a draft."""
        draft = kept.new_draft(self.folder)
        with suppress(FileNotFoundError):  # another process was quicker
            path.rename(draft / path.name)
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[bool]:
    """Hold a lock on a snapshot's folder. Yield False if it is not there, or is in use (with LOCK_NB)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        yield _lock(descriptor, how) and _is_still(path, descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether the folder that was locked is still the one of that name: it may have been removed meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _by_last_use(folder: Path) -> list[Path]:
    found = []
    for path in folder.glob("[!.]*"):
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def _size_bytes(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):
            info = file.lstat()
            total += info.st_size if stat.S_ISREG(info.st_mode) else 0
    return total
