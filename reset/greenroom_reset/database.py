"""The file at ``MATRIX_DB_PATH``: whether it is the bot's, and whether a bot is using it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from glob import iglob
from pathlib import Path
from tempfile import TemporaryDirectory

from greenroom_reset.errors import Refused

APPLICATION_ID = 0x47524E52  # "GRNR", what the bot writes into its database
SQLITE_MAGIC = b"SQLite format 3\0"
SIDE_FILES = ("-wal", "-shm", "-journal")
DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def check_is_ours(path: Path, *, vouched: bool) -> None:
    """Raise Refused unless the regular file at ``path`` is the bot's database or the ruin of one.

    A damaged database must stay resettable: a file that cannot be read as SQLite counts as its ruin if it is named like
    a database and has a voucher: a bot's session in the store that is configured with it. An empty one needs none.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    named_so = path.suffix in DATABASE_SUFFIXES
    if not head.startswith(SQLITE_MAGIC):
        if not (named_so and (vouched or not head)):
            what = "empty" if not head else "text" if _is_text(head) else "no SQLite database"
            raise Refused(f"{path} is {what}, not the bot's database; if it is in the way, see to it by hand")
        return
    found = int.from_bytes(head[68:72], "big")  # https://sqlite.org/fileformat.html#application_id
    if found == 0:
        found = _read_with_log(path, damaged_is_ours=named_so and vouched)
    if found not in (0, APPLICATION_ID):
        raise Refused(f"{path} is some other program's SQLite database (application_id {found:#x})")


def check_is_side_file(path: Path) -> None:
    """Raise Refused for a file named like a missing database's log that is text: SQLite writes no such log."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head and _is_text(head):
        raise Refused(
            f"{path} is text, not what SQLite leaves beside a database; if it is in the way, see to it by hand"
        )


def _read_with_log(path: Path, *, damaged_is_ours: bool) -> int:
    """Return the application id, what is still in the log included. Only damage may count as ours, as for the bot:
    OperationalError is SQLite not getting so far as to tell, with a full disk for instance."""
    try:
        with _copy_of(path) as db:
            found = int(db.execute("PRAGMA application_id").fetchone()[0])
            if found == 0 and (tables := [row[0] for row in db.execute("SELECT name FROM sqlite_master LIMIT 3")]):
                raise Refused(f"{path} is some other program's SQLite database (it holds {', '.join(tables)})")
            return found
    except sqlite3.DatabaseError as why:
        if damaged_is_ours and not isinstance(why, sqlite3.OperationalError):
            return APPLICATION_ID
        raise Refused(f"{path} cannot be recognised as the bot's database: {why}") from why


@contextmanager
def _copy_of(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy of the database and its logs for a ``with``: SQLite leaves files even beside what it only reads."""
    with TemporaryDirectory(prefix="reset-") as folder:
        copy = Path(folder, "copy")
        for suffix in ("", "-wal", "-journal"):
            if (original := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(original, f"{copy}{suffix}")
        with closing(sqlite3.connect(copy)) as db:
            yield db


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep bots away from the database for the length of a ``with``. Raises Refused naming the process that has it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        if _pid_with_removed(path):
            raise Refused(f"{path} is gone, but a running bot ({_holder(path)}) still uses it; stop it first") from None
        yield
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"{path} is in use by a running bot ({_holder(path)}) or another reset; stop it first"
            ) from None
        yield
    finally:
        os.close(fd)


def in_use_by(path: Path) -> str | None:
    """Return who holds the database, in words, or None."""
    try:
        path = path.resolve()
        with held(path):
            return None
    except Refused:
        return _holder(path)
    except (OSError, RuntimeError):  # RuntimeError: pathlib's word for a loop of symbolic links
        return None


def _holder(path: Path) -> str:
    """Return ``pid N``: from the kernel where it tells, else as the bot wrote it into its database.

    A removed database has neither, but it is still open. An inode's number is unique only within its device, but some
    file systems (btrfs) show another device there.
    """
    if pid_with_removed := _pid_with_removed(path):
        return f"pid {pid_with_removed}"
    try:
        seen = path.stat()
        device = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}"
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pids = {lock[5].rpartition(":")[0]: int(lock[4]) for lock in locks if _is_flock_on(seen.st_ino, lock)}
        if (pid := pids.get(device, next(iter(pids.values()), 0))) > 0:
            return f"pid {pid}"
    except (OSError, IndexError, ValueError):
        pass
    try:
        with _copy_of(path) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'pid'").fetchone()
            return f"pid {row[0]}"
    except (OSError, sqlite3.Error, TypeError):
        return "pid unknown"


def _pid_with_removed(path: Path) -> str | None:
    """Return which process, as far as we may look, has a file open that was removed from this path."""
    removed = f"{path.resolve()} (deleted)"
    for link in iglob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) == removed:
                return link.split("/")[2]
    return None


def _is_flock_on(inode: int, lock: list[str]) -> bool:
    return lock[1] == "FLOCK" and lock[5].rpartition(":")[2] == str(inode)


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as why:
        if why.start < len(head) - 3:  # not merely a character cut in two at the end
            return False
        text = head[: why.start].decode()
    return all(c.isprintable() or c in "\t\n\r\f" for c in text)
