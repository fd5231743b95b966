"""The file at `MATRIX_DB_PATH`: what counts as the bot's database, and who is using it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from greenroom_reset import database, local
from greenroom_reset.database import APPLICATION_ID
from greenroom_reset.errors import Refused
from greenroom_reset.local import Paths
from tests.reset.conftest import LOCAL, make_database, refuses, tree


def survey(environ: dict[str, str]) -> dict[str, str]:
    """Return the states of the planned steps by the names of their files."""
    return {step.path.name: step.state for step in local.survey(Paths.from_environ(environ))}


@pytest.mark.parametrize("name", ["bot.db", "state"])
async def test_the_empty_file_of_a_bot_killed_at_its_first_start_can_be_reset(environ, shown, name):
    """An empty file at the database's path holds nothing that could be lost, whatever its name."""
    db = Path(environ["MATRIX_DB_PATH"]).with_name(name)
    db.touch()

    summary = await shown.reset({**environ, "MATRIX_DB_PATH": str(db)}, LOCAL, yes=True)

    assert summary.exit_code == 0
    assert tree(db.parent) == {}


def test_a_database_without_tables_can_be_reset(environ):
    """A bot that is killed at its first start may leave a database without a mark and without tables."""
    db = Path(environ["MATRIX_DB_PATH"])
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE meta (key TEXT)")
        connection.execute("DROP TABLE meta")

    assert survey(environ)["bot.db"] == "planned"


@pytest.mark.parametrize("length", [100, 1000, 5000])
def test_a_truncated_database_of_ours_can_be_reset(environ, length):
    """A database that lost its end can be reset while its header is complete."""
    db = Path(environ["MATRIX_DB_PATH"])
    make_database(db)
    db.write_bytes(db.read_bytes()[:length])

    assert survey(environ)["bot.db"] == "planned"


@pytest.mark.parametrize(
    "content",
    [
        b"my notes\n",
        ("größer " * 600 + "é" * 2000).encode(),
        bytes(4096),
        os.urandom(4096),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xd0\xcf\x11\xe0" + bytes(600),
    ],
    ids=["text", "long text", "zeros", "encrypted", "picture", "other"],
)
@pytest.mark.parametrize("name", ["bot.db", "notes"])
def test_a_file_that_is_no_sqlite_database_is_refused(environ, bot_state, content, name):
    """A file without SQLite's header does not count as the bot's, and the message says what to do by hand."""
    (bot_state / name).write_bytes(content)

    by_hand = "is not an SQLite database.+Move it away by hand and run this again, or correct MATRIX_DB_PATH$"
    refuses(environ, by_hand, MATRIX_DB_PATH=bot_state / name)


def test_a_database_that_lost_its_mark_is_refused(environ, bot_state):
    """A damaged database whose header carries no mark does not count as the bot's, a session beside it or not."""
    db = Path(environ["MATRIX_DB_PATH"])
    db.unlink()
    make_database(db, 0, table="bookmarks")
    content = db.read_bytes()
    db.write_bytes(content[:100] + b"\xff" * 20 + content[120:])
    refuses(environ, "cannot be recognised as the bot's database.+by hand")

    db.write_bytes(b"SQLite format 3\0" + b"\xff" * 50)
    refuses(environ, "cannot be recognised as the bot's database.+by hand")


@pytest.mark.parametrize("content", [b"Dear diary", b"\x89PNG\r\n\x1a\n"], ids=["text", "picture"])
def test_a_strange_file_named_like_the_side_file_of_a_missing_database_is_refused(environ, tmp_path, content):
    """Without the database beside it a side file has to begin like one."""
    (tmp_path / "diary-journal").write_bytes(content)

    refuses(environ, "diary-journal is not a side file of SQLite.+by hand", MATRIX_DB_PATH=tmp_path / "diary")


def test_side_files_that_an_interrupted_reset_left_go(environ):
    """A reset that was killed after it deleted the database is finished by the next one."""
    db = Path(environ["MATRIX_DB_PATH"])
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE meta (key TEXT)")
        sides = {side: side.read_bytes() for side in (Path(f"{db}-wal"), Path(f"{db}-shm"))}
    db.unlink()
    for side, content in sides.items():
        side.write_bytes(content)
    Path(f"{db}-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))

    assert survey(environ) == {
        "bot.db": "already absent",
        **dict.fromkeys(("bot.db-wal", "bot.db-shm", "bot.db-journal"), "planned"),
        "store": "already absent",
    }


def test_our_database_with_a_damaged_body_can_be_reset(environ):
    """A damaged database whose header carries the bot's mark can be reset."""
    db = Path(environ["MATRIX_DB_PATH"])
    make_database(db)
    db.write_bytes(db.read_bytes()[:200] + b"\xff" * 9000)

    assert survey(environ)["bot.db"] == "planned"


def test_our_database_without_its_tables_can_be_reset(environ):
    """A database with the bot's mark can be reset whatever tables it has: an old version's, or some of ours."""
    for table in ("", "bookmarks", "meta"):
        db = Path(environ["MATRIX_DB_PATH"])
        make_database(db, table=table)

        assert survey(environ)["bot.db"] == "planned"
        db.unlink()


def test_a_database_with_a_destroyed_header_is_reset_once_a_person_has_moved_it_away(environ):
    """The message says what to do, and doing it is enough: the side files that stay behind are recognised."""
    db = Path(environ["MATRIX_DB_PATH"])
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        log = Path(f"{db}-wal").read_bytes()
    db.write_bytes(bytes(100) + db.read_bytes()[100:])
    Path(f"{db}-wal").write_bytes(log)
    refuses(environ, "its header is destroyed. Nothing was changed. Move it away by hand and run this again")

    db.rename(db.with_name("moved"))

    assert survey(environ) == {"bot.db": "already absent", "bot.db-wal": "planned", "store": "already absent"}


def test_another_programs_database_is_refused(environ, tmp_path):
    """A database with another program's mark, or without a mark but with tables, is refused."""
    make_database(tmp_path / "marked.db", 0x12345678)
    make_database(tmp_path / "unmarked.db", 0, table="bookmarks")

    refuses(environ, "0x12345678", MATRIX_DB_PATH=tmp_path / "marked.db")
    refuses(environ, "holds bookmarks", MATRIX_DB_PATH=tmp_path / "unmarked.db")


def test_a_database_that_sqlite_cannot_read_is_not_called_damaged(environ):
    """A database without a mark in a format that SQLite cannot read is refused."""
    db = Path(environ["MATRIX_DB_PATH"])
    make_database(db, 0, table="bookmarks")
    schema_format = slice(44, 48)  # https://sqlite.org/fileformat.html#the_database_header
    content = bytearray(db.read_bytes())
    content[schema_format] = (9).to_bytes(4, "big")
    db.write_bytes(content)

    refuses(environ, r"cannot be recognised as the bot's database \(unsupported file format\).+by hand")


def test_a_mark_still_in_the_write_ahead_log_counts_and_looking_leaves_no_trace(environ, tmp_path):
    """The database of a killed bot may have its mark in the log only; the survey reads a copy and leaves no file."""
    original, db = tmp_path / "original.db", Path(environ["MATRIX_DB_PATH"])
    with closing(sqlite3.connect(original, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for suffix in ("", "-wal"):  # copied while open: closing would write the log into the file
            Path(f"{db}{suffix}").write_bytes(Path(f"{original}{suffix}").read_bytes())
    before = tree(db.parent)
    assert db.read_bytes()[68:72] == bytes(4)

    steps = local.survey(Paths.from_environ(environ))

    assert steps[0].state == "planned"
    assert tree(db.parent) == before


async def test_a_database_in_use_is_refused_with_the_bots_pid(environ, bot_state, shown):
    """A database that a bot has locked is refused, in a dry run too, and the message names the bot's pid."""
    before = tree(bot_state)
    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)

        for options in ({"yes": True}, {"dry_run": True}):
            with pytest.raises(Refused, match=rf"in use by a running bot \(pid {os.getpid()}\) or another reset"):
                await shown.reset(environ, LOCAL, **options)

    assert tree(bot_state) == before


async def test_a_bot_whose_database_was_removed_is_noticed(environ, bot_state, shown):
    """A running bot whose database was removed is noticed, and its store stays."""
    with (bot_state / "bot.db").open("rb"):
        (bot_state / "bot.db").unlink()
        before = tree(bot_state)

        with pytest.raises(Refused, match=rf"is gone, but a running bot \(pid {os.getpid()}\) still uses it"):
            await shown.reset(environ, LOCAL, yes=True)

    assert tree(bot_state) == before


def test_a_bot_is_noticed_through_a_link_to_its_database(bot_state):
    """A running bot is noticed if the path of its database is a symbolic link."""
    (bot_state / "link.db").symlink_to(bot_state / "bot.db")
    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)

        assert database.in_use_by(bot_state / "link.db") == f"pid {os.getpid()}"


def test_the_pid_comes_from_the_database_where_the_kernel_does_not_tell(bot_state, monkeypatch):
    """Where the kernel does not show open files, the pid is the one that the bot wrote into its database."""
    with closing(sqlite3.connect(bot_state / "bot.db")) as connection, connection:
        connection.execute("INSERT INTO meta VALUES ('pid', '4711')")
    monkeypatch.setattr("greenroom_reset.database.iglob", lambda _: iter(()))

    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)
        assert database.in_use_by(bot_state / "bot.db") == "pid 4711"


def test_looking_for_the_pid_leaves_no_trace(bot_state, monkeypatch):
    """Reading the pid from the database leaves no log and no index beside it."""
    with closing(sqlite3.connect(bot_state / "bot.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO meta VALUES ('pid', '4711')")
        connection.commit()
    before = tree(bot_state)
    monkeypatch.setattr("greenroom_reset.database.iglob", lambda _: iter(()))

    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)
        assert database.in_use_by(bot_state / "bot.db") == "pid 4711"

    assert tree(bot_state) == before
