"""The file of the bot's database: held by one bot, refused if unusable, and never another program's."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from greenroom_bot.matrix.errors import ConfigError, StoreError
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.rooms.store import SCHEMA_VERSION, SQLiteStore
from tests.bot.factory import CAROL, CHAT, CHAT_ROW, ME, SPACE_ROW


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bot.db"


@pytest.fixture
def store(path):
    opened = SQLiteStore(path)
    yield opened
    opened.close()


def test_a_database_in_use_is_refused_with_the_holders_pid(store):
    """A second bot on one database is refused, with the process id of the first: both would answer."""
    with pytest.raises(ConfigError, match=rf"in use by another bot \(pid {os.getpid()}\)"):
        SQLiteStore(store.path)

    store.write_rooms([CHAT_ROW])  # the refused one has not disturbed the holder


def test_a_closed_database_can_be_opened_again(store):
    """A closed store holds its file no longer, and may be closed twice."""
    store.close()
    store.close()

    SQLiteStore(store.path).close()


def test_a_read_only_look_is_possible_beside_a_running_bot(store):
    """A read-only store opens beside a running bot and refuses to write."""
    store.write_rooms([CHAT_ROW])

    look = SQLiteStore(store.path, read_only=True)

    assert look.rooms() == {CHAT: CHAT_ROW}
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        look.write_rooms([SPACE_ROW])
    look.close()


def test_a_damaged_file_is_reported_with_the_cure(path):
    """A file that is no database is reported as damaged, and the message names the local reset."""
    path.write_bytes(b"this is no database, but it is longer than a header would be" * 50)

    with pytest.raises(StoreError, match=r"is damaged .*local-only"):
        SQLiteStore(path)


def test_a_database_whose_pages_are_overwritten_is_reported_as_damaged(store, path):
    """A database with a good header and broken pages is reported as damaged."""
    store.write_rooms([replace(CHAT_ROW, room_id=RoomId(f"!{n}"), title="x" * 500) for n in range(200)])
    store.close()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(40_000))

    with pytest.raises(StoreError, match="is damaged"):
        SQLiteStore(path)


@pytest.mark.parametrize("change", ["DROP TABLE handled", "ALTER TABLE rooms DROP COLUMN detail"])
def test_a_database_without_all_its_tables_is_reported_as_damaged(store, path, change):
    """A table or a column is missing; the message names the local reset."""
    store._db.execute(change)
    store.close()

    with pytest.raises(StoreError, match=r"is damaged \(missing or changed: (handled|rooms).*local-only"):
        SQLiteStore(path)


def test_another_programs_database_is_refused_and_not_touched(path):
    """Another program's database is refused twice in a row, and its bytes stay the same."""
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE precious (x)")
    theirs.close()
    before = path.read_bytes()

    for _ in range(2):
        with pytest.raises(ConfigError, match="some other program's database"):
            SQLiteStore(path)

    assert path.read_bytes() == before


def test_a_database_of_a_newer_schema_is_refused(store, path):
    """A database of a newer schema is refused, because an older bot would misread it."""
    store._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()

    for _ in range(2):
        with pytest.raises(
            ConfigError, match=f"has schema version {SCHEMA_VERSION + 1}, this bot knows {SCHEMA_VERSION}"
        ):
            SQLiteStore(path)


@pytest.mark.parametrize("where", ["file/bot.db", "missing/bot.db", ""])
def test_a_path_that_cannot_be_used_is_named(tmp_path, where):
    """A path below a file, in a missing directory, or of a directory is refused by its setting's name."""
    (tmp_path / "file").write_text("a regular file")

    with pytest.raises(ConfigError, match=r"MATRIX_DB_PATH .* cannot be used"):
        SQLiteStore(tmp_path / where)


def test_an_empty_file_becomes_a_database(path):
    """An empty file, as mktemp makes it, becomes a database."""
    path.touch()

    SQLiteStore(path).close()

    assert path.stat().st_size > 0


def test_only_the_owner_may_read_a_new_database(store, path):
    """Only its owner may read a new database, which names people and rooms."""
    assert path.stat().st_mode & 0o077 == 0


def test_a_database_belongs_to_one_account(store):
    """A database refuses a second account, and accepts a new device of its own account."""
    store.bind_account(ME, "DEVICE")
    store.bind_account(ME, "OTHER-DEVICE")

    with pytest.raises(ConfigError, match="belongs to @bot:hs1, not @carol:hs1"):
        store.bind_account(CAROL, "DEVICE")

    assert store.meta("device_id") == "OTHER-DEVICE"


def test_a_first_start_that_was_killed_while_it_made_the_database_is_made_good(path):
    """If a first start was killed while it made the database, the next start makes it again."""
    with closing(sqlite3.connect(path)) as empty:
        empty.execute("VACUUM")
    assert path.stat().st_size > 0

    store = SQLiteStore(path)

    assert store.created
    assert store.rooms() == {}
    store.close()


def test_a_look_leaves_nothing_behind(path):
    """A read-only look at a stopped bot's database leaves no side files."""
    store = SQLiteStore(path)
    store.write_rooms([CHAT_ROW])
    store.close()
    before = sorted(path.parent.iterdir())

    look = SQLiteStore(path, read_only=True)
    seen = look.rooms()
    look.close()

    assert seen == {CHAT: CHAT_ROW}
    assert sorted(path.parent.iterdir()) == before
