"""Copies of SQLite databases are whole and compact, also while somebody writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from greenroom.errors import HarnessError
from greenroom.homeserver.sqlite import compact_databases, copy_database


@pytest.fixture
def database(tmp_path):
    """An open database as Synapse keeps it: in WAL mode, with changes that are not in its main file yet."""
    with closing(sqlite3.connect(tmp_path / "homeserver.db", isolation_level=None)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("CREATE TABLE events (body TEXT)")
        opened.executemany("INSERT INTO events VALUES (?)", [("x" * 1000,)] * 1000)
        yield opened


def rows(path) -> int:
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(opened.execute("SELECT count(*) FROM events").fetchone()[0])


def test_a_copy_of_a_database_in_use_has_everything_that_was_written(database, tmp_path):
    """Also what only the log beside it has; not what a transaction has not finished. Only its owner can read it."""
    with closing(sqlite3.connect(tmp_path / "homeserver.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO events VALUES ('unfinished')")

        copy_database(tmp_path / "homeserver.db", tmp_path / "copy.db")

    assert rows(tmp_path / "copy.db") == 1000
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_copy_leaves_unused_pages_out(database, tmp_path):
    """What was deleted costs no time at each restore."""
    database.execute("DELETE FROM events")

    copy_database(tmp_path / "homeserver.db", tmp_path / "copy.db")

    assert (tmp_path / "copy.db").stat().st_size < 20_000


def test_what_a_frozen_server_has_left_becomes_one_file(database, tmp_path):
    """The log beside a database is taken over and removed; other files stay as they are."""
    still = tmp_path / "still"
    still.mkdir()
    for suffix in ("", "-wal"):
        (still / f"homeserver.db{suffix}").write_bytes((tmp_path / f"homeserver.db{suffix}").read_bytes())
    (still / "other.db").write_text("not SQLite")

    compact_databases(still)

    assert sorted(path.name for path in still.iterdir()) == ["homeserver.db", "other.db"]
    assert rows(still / "homeserver.db") == 1000


@pytest.mark.parametrize("content", [None, b"garbage" * 1000], ids=["missing", "damaged"])
def test_what_is_no_database_is_one_clear_line(tmp_path, content):
    """A copy of it is never begun anew as an empty database."""
    if content:
        (tmp_path / "homeserver.db").write_bytes(content)

    with pytest.raises(HarnessError, match=r"homeserver.db cannot be copied: "):
        copy_database(tmp_path / "homeserver.db", tmp_path / "copy.db")
