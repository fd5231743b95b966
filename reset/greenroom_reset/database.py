"""The file at `MATRIX_DB_PATH`: whether it is the bot's, and whether a bot or another reset is using it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from glob import iglob
from pathlib import Path
from tempfile import TemporaryDirectory

from greenroom_reset.errors import Refused

APPLICATION_ID = 0x47524E52  # "GRNR", what the bot writes into its database
SQLITE_MAGIC = b"SQLite format 3\0"
SIDE_FILES = ("-wal", "-shm", "-journal")
# How these begin: a log in both byte orders, a journal, an index, and a header that is not yet written.
SIDE_MAGICS = (
    *(b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", b"\xd9\xd5\x05\xf9"),
    *((3007000).to_bytes(4, sys.byteorder), bytes(4)),
)
BY_HAND = "Nothing was changed. If the file is in the way, move it away by hand, or correct MATRIX_DB_PATH"


def check_is_ours(path: Path) -> None:
    """Raise Refused unless the regular file at `path` is empty or an SQLite database with the bot's mark.

    A damaged database counts by the mark in its header. A bot that was killed at its first start leaves an empty file,
    or a database without tables whose mark is at most in its log; the bot takes over both at its next start.
    """
    with path.open("rb") as file:
        header = file.read(100)
    if not header:
        return
    if not header.startswith(SQLITE_MAGIC):
        raise Refused(f"{path} is not an SQLite database, so it does not count as the bot's. {BY_HAND}")
    found = int.from_bytes(header[68:72], "big")  # https://sqlite.org/fileformat.html#application_id
    tables: list[str] = []
    if found == 0:
        try:
            with _copy_of(path) as db:
                found = int(db.execute("PRAGMA application_id").fetchone()[0])
                tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master LIMIT 3")]
        except sqlite3.DatabaseError as error:
            raise Refused(f"{path} cannot be recognised as the bot's database ({error}). {BY_HAND}") from error
    if found != APPLICATION_ID and (found or tables):
        mark = f"application_id {found:#x}" if found else f"it holds {', '.join(tables)}"
        raise Refused(f"{path} is some other program's SQLite database ({mark}). {BY_HAND}")


def check_is_side_file(path: Path) -> None:
    """Raise Refused unless the file could be what SQLite leaves beside a database that is missing now."""
    with path.open("rb") as file:
        start = file.read(4)
    if start and start not in SIDE_MAGICS:
        raise Refused(f"{path} is not a side file of SQLite, and there is no database beside it. {BY_HAND}")


@contextmanager
def _copy_of(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy of the database and its logs for a `with`. SQLite leaves files even beside what it only reads."""
    with TemporaryDirectory(prefix="reset-") as folder:
        copy = Path(folder, "copy")
        for suffix in ("", "-wal", "-journal"):
            if (original := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(original, f"{copy}{suffix}")
        with closing(sqlite3.connect(copy)) as db:
            yield db


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep bots away from the database for the length of a `with`. Raises Refused naming the process that has it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        if pids := _pids_with(f"{path.resolve()} (deleted)"):
            raise Refused(f"{path} is gone, but a running bot (pid {pids}) still uses it; stop it first") from None
        yield
        return
    with _locked(fd, lambda: f"{path} is in use by a running bot ({_holder(path)}) or another reset; stop it first"):
        yield


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other server resets away from a bot for the length of a `with`; `folder` is where its database lives.

    A second reset would take over the device of the first, and would call failed what the first has done. Nothing is
    written, so a dry run does this too. A directory that does not exist belongs to no other reset.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    with _locked(fd, lambda: f"another reset is at work in {folder.absolute()}; wait until it has ended"):
        yield


@contextmanager
def _locked(fd: int, busy: Callable[[], str]) -> Iterator[None]:
    """Lock an open file for the length of a `with`, then close it. Raises Refused, saying by whom it is `busy`."""
    with ExitStack() as opened:
        opened.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            opened.close()  # before `busy` looks for processes that have it open
            raise Refused(busy()) from None
        yield


def in_use_by(path: Path) -> str | None:
    """Return the process that holds the database, in words, or None."""
    try:
        path = path.resolve()
        with held(path):
            return None
    except Refused:
        return _holder(path)
    except (OSError, RuntimeError):  # RuntimeError: pathlib's error for a loop of symbolic links
        return None


def _holder(path: Path) -> str:
    """Return `pid N`: from the kernel as far as we may look, else as the bot wrote it into its database."""
    if pids := _pids_with(str(path.resolve())) or _pids_with(f"{path.resolve()} (deleted)"):
        return f"pid {pids}"
    try:
        with _copy_of(path) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'pid'").fetchone()
            return f"pid {row[0]}"
    except (OSError, sqlite3.Error, TypeError):
        return "pid unknown"


def _pids_with(opened: str) -> str:
    """Return which processes have a file open, in words, or nothing. The kernel adds `(deleted)` to a removed file."""
    pids = set()
    for link in iglob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) == opened:
                pids.add(link.split("/")[2])
    return " or ".join(sorted(pids, key=int))
