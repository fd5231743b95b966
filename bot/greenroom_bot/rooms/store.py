"""The bot's own database: rooms, position in the stream, handled events. Small, local, and disposable.

Losing it loses no chat (identity lives on the server), only the position: what was written while the bot was down.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Protocol

from greenroom_bot.matrix.errors import ConfigError, StoreError
from greenroom_bot.matrix.ids import ChatId, EventId, RoomId, UserId
from greenroom_bot.rooms.records import Intent, RoomRow, RowKind

APPLICATION_ID = 0x47524E52  # "GRNR": by this a reset recognises the bot's file
SCHEMA_VERSION = 1
HANDLED_KEPT = 20_000
"""How many handled event ids are remembered at least; the ones after the saved position are always kept."""
ABOUT_THE_ROOM = ("unresolved", "not allowed", "archived")
"""Of the things said once: what is about the room itself, and may no longer be true when its row changes. All else is
about one person or one key, and stays said."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    room_id TEXT PRIMARY KEY, kind TEXT NOT NULL, chat_id TEXT NOT NULL, owner TEXT NOT NULL, space_id TEXT,
    title TEXT NOT NULL, archived INTEGER NOT NULL, linked INTEGER NOT NULL, encrypted INTEGER NOT NULL,
    status TEXT NOT NULL, detail TEXT NOT NULL, request TEXT NOT NULL, created_ts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX rooms_by_owner ON rooms (owner, kind);
CREATE INDEX rooms_by_request ON rooms (request);
CREATE TABLE handled (event_id TEXT PRIMARY KEY, batch INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX handled_by_batch ON handled (batch);
CREATE TABLE intents (
    request TEXT NOT NULL, kind TEXT NOT NULL, chat_id TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (request, kind)
) WITHOUT ROWID;
CREATE TABLE told (room_id TEXT NOT NULL, what TEXT NOT NULL, PRIMARY KEY (room_id, what)) WITHOUT ROWID;
"""
_STATEMENTS = {statement.strip() for statement in _SCHEMA.split(";") if statement.strip()}
_COLUMNS = tuple(f.name for f in fields(RoomRow))


class StateStore(Protocol):
    """What reconciliation needs of a store. Every write has to survive SIGKILL once its method has returned."""

    def rooms(self) -> dict[RoomId, RoomRow]:
        """Return all rows."""

    def room(self, room_id: RoomId) -> RoomRow | None:
        """Return one row."""

    def write_rooms(self, rows: Iterable[RoomRow]) -> None:
        """Write all rows and settle their intents, all or none."""

    def intents(self) -> list[Intent]:
        """Return the rooms that were asked for and have no row yet."""


class SQLiteStore:
    """A StateStore in one SQLite file, held by one process at a time.

    Raises ConfigError when the path cannot be used, holds something else, or another bot holds it; StoreError when the
    file is damaged. `read_only` opens an existing database without holding it, for a look beside a running bot.
    `created`: the file held nothing yet; then a read-only store has no tables to ask.
    """

    def __init__(self, db_path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(db_path)
        self._lock_fd: int | None = None
        try:
            if read_only:
                # Without a log no bot runs, and SQLite would leave an empty one behind.
                how = "mode=ro" if Path(f"{self.path}-wal").exists() else "mode=ro&immutable=1"
                self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
                self.created = self._is_empty()
                if not self.created:
                    self._check_is_ours()
            else:
                self._open()
        except ConfigError:
            self.close()
            raise
        except sqlite3.OperationalError as error:
            self.close()
            raise ConfigError(f"MATRIX_DB_PATH {self.path} cannot be opened: {error}") from error
        except OSError as error:
            self.close()
            raise ConfigError(f"MATRIX_DB_PATH {self.path} cannot be used: {error.strerror or error}") from error
        except sqlite3.DatabaseError as error:
            self.close()
            raise StoreError(
                f"the database {self.path} is damaged ({error}). Delete it with a local reset "
                "(python -m greenroom_reset --mode local-only), or move it away if the reset does not recognise it. "
                "The next start rebuilds the chats from the homeserver"
            ) from error

    def _open(self) -> None:
        self._hold()
        self._db = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        # Asked after opening, which rolls back what a killed first start had half written.
        self.created = self._is_empty()
        if self.created:
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            self._db.executescript(f"BEGIN; {marks} {_SCHEMA} COMMIT;")
        self._check_is_ours()
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # safe against a killed process, which is what we promise
        self.set_meta("pid", str(os.getpid()))
        self._batch = int(self._db.execute("SELECT coalesce(max(batch), 0) FROM handled").fetchone()[0])

    def _is_empty(self) -> bool:
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return tables == 0 and self._pragma("application_id") == 0

    def _check_is_ours(self) -> None:
        if (found := self._pragma("application_id")) != APPLICATION_ID:
            raise ConfigError(
                f"MATRIX_DB_PATH {self.path} is some other program's database (application_id {found:#x})"
            )
        if (found := self._pragma("user_version")) != SCHEMA_VERSION:
            raise ConfigError(
                f"the database {self.path} has schema version {found}, this bot knows {SCHEMA_VERSION}. "
                "Run the version that wrote it, or delete it with a local reset: the next start rebuilds the chats "
                "from the homeserver"
            )
        if (verdict := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(verdict)
        if lacking := _STATEMENTS - {sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master")}:
            names = ", ".join(sorted(statement.split()[2] for statement in lacking))
            raise sqlite3.DatabaseError(f"missing or changed: {names}")

    def _hold(self) -> None:
        """Lock the database for this process. flock is separate from SQLite's own locks and ends with the process.

        The descriptor stays open until `close`; closing it earlier would drop SQLite's locks too.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise ConfigError(f"the database {self.path} is in use by another bot{_holder(self.path)}") from error
        self._lock_fd = fd

    def close(self) -> None:
        """Close the database, then release its lock."""
        if db := getattr(self, "_db", None):
            db.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    # Rooms

    def rooms(self) -> dict[RoomId, RoomRow]:
        return {row.room_id: row for row in self._rows("")}

    def room(self, room_id: RoomId) -> RoomRow | None:
        return next(self._rows("WHERE room_id = ?", room_id), None)

    def chats_of(self, owner: UserId) -> list[RoomRow]:
        """Return a person's chats, whatever their status, oldest chat id first."""
        return sorted(self._rows("WHERE owner = ? AND kind = 'chat'", owner), key=lambda row: chat_number(row.chat_id))

    def space_of(self, owner: UserId) -> RoomRow | None:
        """Return the Space for a new chat of this person: one in use before one that the person left."""
        usable = "kind = 'space' AND status IN ('active', 'powerless', 'orphaned')"
        return next(self._rows(f"WHERE owner = ? AND {usable} ORDER BY status = 'orphaned', status", owner), None)

    def by_request(self, request: str, kind: RowKind) -> RoomRow | None:
        return next(self._rows("WHERE request = ? AND kind = ?", request, kind), None)

    def write_rooms(self, rows: Iterable[RoomRow]) -> None:
        """Write all rows and settle their intents in one transaction. Forget what was said about these rooms."""
        with self._transaction():
            for row in rows:
                self.forget_told(row.room_id)
                self._db.execute(
                    f"INSERT OR REPLACE INTO rooms ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",  # noqa: S608 our own column names
                    astuple(row),
                )
                self._db.execute("DELETE FROM intents WHERE request = ? AND kind = ?", (row.request, row.kind))

    def _rows(self, where: str, *values: str) -> Iterator[RoomRow]:
        for found in self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM rooms {where}", values):  # noqa: S608 our own text
            row = dict(zip(_COLUMNS, found, strict=True))
            yield RoomRow(**{**row, **{flag: bool(row[flag]) for flag in ("archived", "linked", "encrypted")}})

    # Rooms that may be half made

    def intent(self, request: str, kind: RowKind) -> Intent | None:
        return next((i for i in self.intents() if (i.request, i.kind) == (request, kind)), None)

    def intents(self) -> list[Intent]:
        return [Intent(*found) for found in self._db.execute("SELECT request, kind, chat_id, owner FROM intents")]

    def add_intent(self, intent: Intent) -> None:
        self._db.execute("INSERT OR IGNORE INTO intents VALUES (?, ?, ?, ?)", astuple(intent))

    # Position and memory

    @property
    def position(self) -> str | None:
        """The sync token up to which everything has been handled, or None before the first."""
        return self.meta("position")

    def save_position(self, token: str, *, upto_batch: int) -> None:
        """Record that all events up to `token` are handled, and delete event ids long past it."""
        with self._transaction():
            self.set_meta("position", token)
            self._db.execute(
                "DELETE FROM handled WHERE batch <= ? AND batch < "
                "(SELECT batch FROM handled ORDER BY batch DESC LIMIT 1 OFFSET ?)",
                (upto_batch, HANDLED_KEPT),
            )

    def next_batch_number(self) -> int:
        """Return the number of the sync batch that begins now, larger than any before it."""
        self._batch += 1
        return self._batch

    def was_handled(self, event_id: EventId | str) -> bool:
        return self._db.execute("SELECT 1 FROM handled WHERE event_id = ?", (event_id,)).fetchone() is not None

    def mark_handled(self, event_id: EventId | str, *, batch: int = 0) -> None:
        self._db.execute("INSERT OR IGNORE INTO handled VALUES (?, ?)", (event_id, batch or self._batch))

    # Things said once

    def tell_once(self, room_id: RoomId, what: str) -> bool:
        """Record that it was said; return True the first time, False after that."""
        return self._db.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (room_id, what)).rowcount == 1

    def was_told(self, room_id: RoomId, what: str) -> bool:
        return (
            self._db.execute("SELECT 1 FROM told WHERE room_id = ? AND what = ?", (room_id, what)).fetchone()
            is not None
        )

    def forget_told(self, room_id: RoomId) -> None:
        """Forget what was said once about this room itself (ABOUT_THE_ROOM), so that it may be said again.

        Every write of a row does this; otherwise it is for a room that changed in a way that the bot cannot know.
        """
        self._db.execute("DELETE FROM told WHERE room_id = ? AND what IN (?, ?, ?)", (room_id, *ABOUT_THE_ROOM))

    # Single values

    def meta(self, key: str) -> str | None:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else None

    def set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def bind_account(self, user_id: UserId, device_id: str, *, ran_before: bool = False) -> None:
        """Bind the database to one account. Raises ConfigError if it belongs to another.

        `ran_before`: the login speaks of an earlier run. A database that is new then was lost, and remembers it.
        """
        self.check_account(user_id)
        with self._transaction():
            if self.meta("user_id") is None and ran_before:
                self.set_meta("replaces_lost", "yes")
            self.set_meta("user_id", user_id)
            self.set_meta("device_id", device_id)

    @property
    def replaces_lost(self) -> bool:
        """Whether this database was made after an earlier run of the bot, whose own is lost."""
        return self.meta("replaces_lost") is not None

    def check_account(self, user_id: UserId) -> None:
        """Raise ConfigError if the database belongs to another account."""
        if (owner := self.meta("user_id")) not in (None, user_id):
            raise ConfigError(
                f"the database {self.path} belongs to {owner}, not {user_id}; give this bot a MATRIX_DB_PATH of its own"
            )

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def chat_number(chat_id: ChatId | str) -> int:
    """Return 2 for `C2`, 0 for anything else, `C` with more than nine digits included."""
    return int(chat_id[1:]) if re.fullmatch("C[1-9][0-9]{0,8}", chat_id) else 0


def _holder(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            pid = db.execute("SELECT value FROM meta WHERE key = 'pid'").fetchone()[0]
            return f" (pid {pid})"
    except (sqlite3.Error, TypeError):
        return ""
