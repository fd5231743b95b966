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

from greenroom_reset.errors import NotOurs, Refused

APPLICATION_ID = 0x47524E52  # "GRNR", what the bot writes into its database
SQLITE_MAGIC = b"SQLite format 3\0"
SIDE_FILES = ("-wal", "-shm", "-journal")
# How these begin: a log in both byte orders, a journal, an index, and a header that is not yet written.
SIDE_MAGICS = (
    *(b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", b"\xd9\xd5\x05\xf9"),
    *((3007000).to_bytes(4, sys.byteorder), bytes(4)),
)
_ACCOUNT = "SELECT value FROM meta WHERE key = 'user_id'"
_TABLES = "SELECT name FROM sqlite_master"


def account_in(path: Path) -> str:
    """Return whose the bot's database is, or an empty string where that cannot be read.

    Raises Refused unless the regular file at `path` is empty or an SQLite database with the bot's mark. A damaged
    database counts by the mark in its header. A bot that was killed at its first start leaves an empty file, or a
    database without tables whose mark is at most in its log; the bot takes over both at its next start.
    """
    if not (header := _header(path, "MATRIX_DB_PATH")):
        return ""
    found = int.from_bytes(header[68:72], "big")  # https://sqlite.org/fileformat.html#application_id
    tables: list[str] = []
    if found == 0:
        with _read(path, "the bot's database", "MATRIX_DB_PATH") as db:
            found = int(db.execute("PRAGMA application_id").fetchone()[0])
            tables = [row[0] for row in db.execute(_TABLES)]
    if found != APPLICATION_ID and (found or tables):
        mark = f"application_id {found:#x}" if found else f"it holds {', '.join(tables[:3])}"
        raise NotOurs(f"{path} is some other program's SQLite database ({mark})", "MATRIX_DB_PATH")
    with suppress(sqlite3.DatabaseError, TypeError), _opened(path) as db:
        return str(db.execute(_ACCOUNT).fetchone()[0])
    return ""


def check_is_key_store(path: Path, account: str) -> None:
    """Raise Refused unless the regular file is empty or nio's SQLite database with no keys but the account's.

    nio writes no mark into it. The table `storeversion` is the first that it makes (nio/store/database.py).
    """
    if not _header(path, "MATRIX_STORE_PATH"):
        return
    with _read(path, "an encryption store", "MATRIX_STORE_PATH") as db:
        tables = [row[0] for row in db.execute(_TABLES)]
        others = {str(row[0]) for row in db.execute("SELECT user_id FROM accounts")} if "accounts" in tables else set()
    if tables and "storeversion" not in tables:
        mark = f"it holds {', '.join(tables[:3])}"
        raise NotOurs(f"{path} is some other program's SQLite database ({mark})", "MATRIX_STORE_PATH")
    if others := others - {account}:
        raise NotOurs(f"{path} holds keys of {', '.join(others)}, not of {account}", "MATRIX_STORE_PATH")


def check_is_side_file(path: Path, setting: str) -> None:
    """Raise Refused unless the file could be what SQLite leaves beside a database that is missing now."""
    with path.open("rb") as file:
        start = file.read(4)
    if start and start not in SIDE_MAGICS:
        raise NotOurs(f"{path} is not a side file of SQLite, and there is no database beside it", setting)


def _header(path: Path, setting: str) -> bytes:
    """Return the header of an SQLite database, or nothing for an empty file. Raises Refused for any other file."""
    with path.open("rb") as file:
        header = file.read(100)
    if header and not header.startswith(SQLITE_MAGIC):
        raise NotOurs(f"{path} is not an SQLite database, or its header is destroyed", setting)
    return header


@contextmanager
def _read(path: Path, what: str, setting: str) -> Iterator[sqlite3.Connection]:
    """Open a database for a `with`. Raises Refused where SQLite cannot read what is asked inside."""
    try:
        with _opened(path) as db:
            yield db
    except sqlite3.DatabaseError as error:
        raise NotOurs(f"{path} cannot be recognised as {what} ({error})", setting) from error


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading, for a `with`, and leave no trace beside it.

    SQLite writes beside a database that has a log or a journal, even if it only reads it. So it gets a copy of those.
    Raises Refused where there is no room for a copy.
    """
    logs = [log for suffix in ("-wal", "-journal") if (log := path.with_name(path.name + suffix)).exists()]
    if not any(log.stat().st_size for log in logs):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            yield db
        return
    with ExitStack() as until_read:
        try:
            copy = Path(until_read.enter_context(TemporaryDirectory(prefix="reset-")), "copy")
            for original in (path, *logs):
                shutil.copyfile(original, f"{copy}{original.name.removeprefix(path.name)}")
        except OSError as error:
            raise Refused(
                f"{path} can be read only from a copy, and none can be made ({error.strerror}). Nothing was changed. "
                "Make room, or set TMPDIR to a directory that has some"
            ) from error
        yield until_read.enter_context(closing(sqlite3.connect(copy)))


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
    """Keep other resets away from a bot for the length of a `with`; `folder` is where its database lives.

    A second server reset would take over the device of the first, and would call failed what the first has done. A
    local reset would delete the session that a server reset is using. Nothing is written, so a dry run does this too.
    A directory that does not exist belongs to no other reset.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    except OSError as error:
        raise Refused(
            f"cannot look for another reset at work in {folder.absolute()}: {error.strerror}. Nothing was changed. "
            "Run this as the user who runs the bot"
        ) from error
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
        with _opened(path) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'pid'").fetchone()
            return f"pid {row[0]}"
    except (Refused, OSError, sqlite3.Error, TypeError):
        return "pid unknown"


def _pids_with(opened: str) -> str:
    """Return which processes have a file open, in words, or nothing. The kernel adds `(deleted)` to a removed file."""
    pids = set()
    for link in iglob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) == opened:
                pids.add(link.split("/")[2])
    return " or ".join(sorted(pids, key=int))
