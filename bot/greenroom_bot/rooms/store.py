"""The bot's own database: rooms, position in the stream, handled events. Small, local, and disposable.

To lose it is to lose no chat, since identity lives on the server. Only the position is lost, and with it the messages
that people wrote while the bot was down.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, fields
from pathlib import Path

from greenroom_bot.matrix.errors import BotError, ConfigError, StoreError
from greenroom_bot.matrix.ids import EventId, RoomId, UserId
from greenroom_bot.rooms.records import Intent, RoomRow, RowKind, Status, chat_number

APPLICATION_ID = 0x47524E52  # "GRNR": lets a reset tell our file from another program's database
SCHEMA_VERSION = 1
HANDLED_KEPT = 20_000
"""The store remembers at least so many handled event ids, and always those after the saved position."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    room_id TEXT PRIMARY KEY, kind TEXT NOT NULL, chat_id TEXT NOT NULL, owner TEXT NOT NULL, space_id TEXT,
    title TEXT NOT NULL, archived INTEGER NOT NULL, linked INTEGER NOT NULL, encrypted INTEGER NOT NULL,
    status TEXT NOT NULL, detail TEXT NOT NULL, request TEXT NOT NULL, created_ts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE handled (event_id TEXT PRIMARY KEY, batch INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX handled_by_batch ON handled (batch);
CREATE TABLE intents (
    request TEXT NOT NULL, kind TEXT NOT NULL, chat_id TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (request, kind)
) WITHOUT ROWID;
CREATE TABLE told (room_id TEXT NOT NULL, what TEXT NOT NULL, PRIMARY KEY (room_id, what)) WITHOUT ROWID;
"""
_COLUMNS = tuple(f.name for f in fields(RoomRow))
_USABLE_SPACES: tuple[Status, ...] = ("active", "powerless", "orphaned")


class StateStore(ABC):
    """What reconciliation and chats need of a store: rows and intents. All questions about them are answered here.

    A call that has returned must survive SIGKILL.
    """

    @abstractmethod
    def rooms(self) -> dict[RoomId, RoomRow]: ...

    @abstractmethod
    def write_rooms(self, rows: Iterable[RoomRow]) -> None:
        """Write all rows or none, settle their intents, and forget what the bot told in these rooms."""

    @abstractmethod
    def intents(self) -> list[Intent]: ...

    @abstractmethod
    def add_intent(self, intent: Intent) -> None:
        """Keep an intent until its room has a row. The first intent of a request stands."""

    def room(self, room_id: RoomId) -> RoomRow | None:
        return self.rooms().get(room_id)

    def chats_of(self, owner: UserId) -> list[RoomRow]:
        """Return a person's chats, whatever their status, in the order of their chat ids."""
        chats = [row for row in self.rooms().values() if row.owner == owner and row.kind == "chat"]
        return sorted(chats, key=lambda row: chat_number(row.chat_id))

    def space_of(self, owner: UserId) -> RoomRow | None:
        """Return the Space for this person's new chats. A Space in use comes before one that they left."""
        spaces = [row for row in self.rooms().values() if row.owner == owner and row.kind == "space"]
        usable = [row for row in spaces if row.status in _USABLE_SPACES]
        return min(usable, key=lambda row: _USABLE_SPACES.index(row.status), default=None)

    def by_request(self, request: str, kind: RowKind) -> RoomRow | None:
        return next((row for row in self.rooms().values() if (row.request, row.kind) == (request, kind)), None)

    def intent(self, request: str, kind: RowKind) -> Intent | None:
        return next((i for i in self.intents() if (i.request, i.kind) == (request, kind)), None)


class SQLiteStore(StateStore):
    """A StateStore in one SQLite file, held by one process at a time; it also keeps the bot's place in the stream.

    Raises ConfigError if the path cannot be used or another bot holds it, StoreError if the file is damaged.
    `read_only` opens an existing database without holding it, for a look beside a running bot.
    """

    def __init__(self, db_path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(db_path)
        self._lock_fd: int | None = None
        try:
            if read_only:
                # Without a write-ahead log no bot runs, and SQLite would leave an empty log behind.
                how = "mode=ro" if Path(f"{self.path}-wal").exists() else "mode=ro&immutable=1"
                self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
                self.created = False
            else:
                self._open()
        except BotError:
            self.close()
            raise
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise _unusable(self.path, error) from error

    def _open(self) -> None:
        self._hold()
        self._db = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        # Asked after opening: SQLite then takes back what a killed first start had half written.
        empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        self.created = empty and self._pragma("application_id") == 0
        if self.created:
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            self._db.executescript(f"BEGIN; {marks} {_SCHEMA} COMMIT;")
        if (found := self._pragma("application_id")) != APPLICATION_ID:
            raise ConfigError(
                f"MATRIX_DB_PATH {self.path} is some other program's database (application_id {found:#x})"
            )
        if (found := self._pragma("user_version")) != SCHEMA_VERSION:
            raise ConfigError(f"the database {self.path} has schema version {found}, this bot knows {SCHEMA_VERSION}")
        if (verdict := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(verdict)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # safe against a killed process, which is what we promise
        self.set_meta("pid", str(os.getpid()))
        self._batch = int(self._db.execute("SELECT coalesce(max(batch), 0) FROM handled").fetchone()[0])

    def _hold(self) -> None:
        """Take the database for this process: flock is separate from SQLite's own locks and ends with the process.

        The descriptor stays open until `close`: to close it earlier would drop SQLite's locks too.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise ConfigError(f"the database {self.path} is in use by another bot{_holder(self.path)}") from error
        self._lock_fd = fd

    def close(self) -> None:
        """Close the database, then release it."""
        if db := getattr(self, "_db", None):
            db.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    # Rooms

    def rooms(self) -> dict[RoomId, RoomRow]:
        return {row.room_id: row for row in self._rows("")}

    def room(self, room_id: RoomId) -> RoomRow | None:
        return next(self._rows("WHERE room_id = ?", room_id), None)  # for every message, so not from all rows

    def write_rooms(self, rows: Iterable[RoomRow]) -> None:
        with self._transaction():
            for row in rows:
                self._db.execute(
                    f"INSERT OR REPLACE INTO rooms ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",  # noqa: S608 our own column names
                    astuple(row),
                )
                self._db.execute("DELETE FROM intents WHERE request = ? AND kind = ?", (row.request, row.kind))
                self.forget_told([row.room_id])

    def _rows(self, where: str, *values: str) -> Iterator[RoomRow]:
        for found in self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM rooms {where}", values):  # noqa: S608 our own text
            row = dict(zip(_COLUMNS, found, strict=True))
            yield RoomRow(**{**row, **{flag: bool(row[flag]) for flag in ("archived", "linked", "encrypted")}})

    def intents(self) -> list[Intent]:
        return [Intent(*found) for found in self._db.execute("SELECT request, kind, chat_id, owner FROM intents")]

    def add_intent(self, intent: Intent) -> None:
        self._db.execute("INSERT OR IGNORE INTO intents VALUES (?, ?, ?, ?)", astuple(intent))

    # Position and memory

    @property
    def position(self) -> str | None:
        """The sync token up to which the bot has handled everything, None before the first."""
        return self.meta("position")

    def save_position(self, token: str, *, upto_batch: int) -> None:
        """Remember that all events up to `token` are handled, and forget event ids long before it."""
        with self._transaction():
            self.set_meta("position", token)
            self._db.execute(
                "DELETE FROM handled WHERE batch <= ? AND batch < "
                "(SELECT batch FROM handled ORDER BY batch DESC LIMIT 1 OFFSET ?)",
                (upto_batch, HANDLED_KEPT),
            )

    def next_batch_number(self) -> int:
        """Return a number for the sync batch that comes in now, larger than any before it."""
        self._batch += 1
        return self._batch

    def was_handled(self, event_id: EventId | str) -> bool:
        return self._holds("handled WHERE event_id = ?", event_id)

    def mark_handled(self, event_id: EventId | str, *, batch: int = 0) -> None:
        self._db.execute("INSERT OR IGNORE INTO handled VALUES (?, ?)", (event_id, batch or self._batch))

    def was_told(self, room_id: RoomId, what: str) -> bool:
        return self._holds("told WHERE room_id = ? AND what = ?", room_id, what)

    def tell_once(self, room_id: RoomId, what: str) -> bool:
        """Return True the first time, False until `forget_told`."""
        return self._db.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (room_id, what)).rowcount == 1

    def forget_told(self, room_ids: Collection[RoomId]) -> None:
        self._db.executemany("DELETE FROM told WHERE room_id = ?", [(room_id,) for room_id in room_ids])

    # Single values

    def meta(self, key: str) -> str | None:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else None

    def set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def bind_account(self, user_id: UserId, device_id: str) -> None:
        """Tie the database to one account. Raises ConfigError if it belongs to another."""
        if (owner := self.meta("user_id")) not in (None, user_id):
            raise ConfigError(
                f"the database {self.path} belongs to {owner}, not {user_id}; give this bot a MATRIX_DB_PATH of its own"
            )
        self.set_meta("user_id", user_id)
        self.set_meta("device_id", device_id)

    def _holds(self, what: str, *values: str) -> bool:
        return self._db.execute(f"SELECT 1 FROM {what}", values).fetchone() is not None  # noqa: S608 our own text

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


def _unusable(path: Path, error: OSError | sqlite3.Error) -> BotError:
    """Return what to tell a person about a database that does not open."""
    if isinstance(error, sqlite3.OperationalError):
        return ConfigError(f"MATRIX_DB_PATH {path} cannot be opened: {error}")
    if isinstance(error, OSError):
        return ConfigError(f"MATRIX_DB_PATH {path} cannot be used: {error.strerror or error}")
    return StoreError(
        f"the database {path} is damaged ({error}); a local reset (python -m greenroom_reset --mode local-only) clears "
        "it, and the next start rebuilds the chats from the homeserver"
    )


def _holder(path: Path) -> str:
    """Return the process id of the bot that holds a database, if the database tells."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            pid = db.execute("SELECT value FROM meta WHERE key = 'pid'").fetchone()[0]
            return f" (pid {pid})"
    except (sqlite3.Error, TypeError):
        return ""
