"""The bot's database: survives a kill between any two calls, remembers enough, and touches nobody else's file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from greenroom_bot.matrix.errors import ConfigError, StoreError
from greenroom_bot.matrix.ids import ChatId, RoomId
from greenroom_bot.rooms.records import Intent, chat_number
from greenroom_bot.rooms.store import SCHEMA_VERSION, SQLiteStore
from tests.bot.factory import ALICE, CAROL, CHAT, CHAT_ROW, ME, SPACE_ROW


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bot.db"


@pytest.fixture
def store(path):
    opened = SQLiteStore(path)
    yield opened
    opened.close()


def reopened(store: SQLiteStore) -> SQLiteStore:
    store.close()
    return SQLiteStore(store.path)


# Rooms


def test_rows_come_back_as_they_were_written(store):
    """Every field, over a restart."""
    rows = [SPACE_ROW, replace(CHAT_ROW, archived=True, encrypted=True, status="tombstoned", detail="x", title="Ü “”")]
    store.write_rooms(rows)

    again = reopened(store)

    assert again.rooms() == {row.room_id: row for row in rows}
    assert again.room(CHAT) == rows[1]
    assert again.room(RoomId("!none")) is None
    again.close()


def test_writing_a_room_again_replaces_its_row(store):
    """One row per room."""
    store.write_rooms([CHAT_ROW])
    store.write_rooms([replace(CHAT_ROW, title="New")])

    assert store.room(CHAT).title == "New"


def test_rows_are_written_all_or_none(store):
    """One transaction: a row that cannot be written takes the others with it."""
    broken = replace(SPACE_ROW, created_ts=2**70)

    with pytest.raises(OverflowError):
        store.write_rooms([CHAT_ROW, broken])

    assert store.rooms() == {}
    store.write_rooms([CHAT_ROW])
    assert store.rooms() == {CHAT: CHAT_ROW}


def test_chats_of_a_person_come_in_order_of_their_numbers(store):
    """C2 before C10, and nobody else's."""
    ids = ["C10", "C2", "C1"]
    store.write_rooms([replace(CHAT_ROW, room_id=RoomId(f"!{c}"), chat_id=ChatId(c)) for c in ids])
    store.write_rooms([replace(CHAT_ROW, room_id=RoomId("!carol"), owner=CAROL), SPACE_ROW])

    assert [row.chat_id for row in store.chats_of(ALICE)] == ["C1", "C2", "C10"]


@pytest.mark.parametrize(
    ("status", "usable"),
    [("active", True), ("powerless", True), ("orphaned", True), ("left", False), ("conflict", False)],
)
def test_a_space_that_we_are_out_of_or_that_is_disputed_gets_no_new_chats(store, status, usable):
    """Then a new Space is made."""
    store.write_rooms([replace(SPACE_ROW, status=status)])

    assert bool(store.space_of(ALICE)) is usable


def test_a_space_in_use_comes_before_one_that_its_owner_left(store):
    """Of several."""
    store.write_rooms([replace(SPACE_ROW, status="orphaned"), replace(SPACE_ROW, room_id=RoomId("!z"))])

    assert store.space_of(ALICE).room_id == "!z"


@pytest.mark.parametrize(("chat_id", "number"), [("C2", 2), ("C", 0), ("space", 0), ("C1x", 0), ("c2", 0), ("", 0)])
def test_a_chat_number_is_what_follows_the_c(chat_id, number):
    """Anything else counts as none."""
    assert chat_number(chat_id) == number


# Half-made rooms


def test_an_intent_stays_until_its_room_has_a_row(store):
    """Over a kill; settled in the same transaction as the row."""
    wanted = Intent("$asked-for-chat", "chat", ChatId("C1"), ALICE)
    store.add_intent(wanted)
    store.add_intent(replace(wanted, kind="space", chat_id=ChatId("space")))

    again = reopened(store)
    assert again.intent("$asked-for-chat", "chat") == wanted
    again.write_rooms([CHAT_ROW])

    assert again.intent("$asked-for-chat", "chat") is None
    assert again.intent("$asked-for-chat", "space") is not None
    assert again.by_request("$asked-for-chat", "chat") == CHAT_ROW
    again.close()


def test_the_first_intent_of_a_request_stands(store):
    """A repeated request keeps the chat id that was chosen first."""
    store.add_intent(Intent("$e", "chat", ChatId("C1"), ALICE))
    store.add_intent(Intent("$e", "chat", ChatId("C2"), ALICE))

    assert store.intent("$e", "chat").chat_id == "C1"


# Position and handled events


def test_position_and_handled_events_survive_a_restart(store):
    """And the batch numbers go on upwards."""
    number = store.next_batch_number()
    store.mark_handled("$a")
    store.save_position("s5", upto_batch=number)

    again = reopened(store)

    assert again.position == "s5"
    assert again.was_handled("$a")
    assert not again.was_handled("$b")
    assert again.next_batch_number() > number
    again.close()


def test_the_memory_of_handled_events_is_bounded(store, monkeypatch):
    """Only so many are kept of those before the saved position."""
    monkeypatch.setattr("greenroom_bot.rooms.store.HANDLED_KEPT", 10)
    for number in range(1, 101):
        store.mark_handled(f"$e{number}", batch=number)

    store.save_position("s", upto_batch=100)

    kept = [number for number in range(1, 101) if store.was_handled(f"$e{number}")]
    assert kept == list(range(90, 101))


def test_events_after_the_saved_position_are_never_forgotten(store, monkeypatch):
    """They come again after a kill, however many they are."""
    monkeypatch.setattr("greenroom_bot.rooms.store.HANDLED_KEPT", 10)
    for number in range(1, 101):
        store.mark_handled(f"$e{number}", batch=number)

    store.save_position("s", upto_batch=30)

    assert all(store.was_handled(f"$e{number}") for number in range(31, 101))
    assert not store.was_handled("$e30")


def test_an_event_is_marked_once(store):
    """Marking it again is no error."""
    store.mark_handled("$a")
    store.mark_handled("$a")

    assert store.was_handled("$a")


def test_something_is_told_once_until_it_is_forgotten(store):
    """Per room and per thing, over restarts."""
    assert store.tell_once(CHAT, "unresolved")
    assert not store.tell_once(CHAT, "unresolved")
    assert store.tell_once(CHAT, "archived")

    again = reopened(store)
    assert again.was_told(CHAT, "unresolved")
    again.forget_told([CHAT])

    assert not again.was_told(CHAT, "archived")
    again.close()


KILLED_BETWEEN_CALLS = """
import os, sys
from greenroom_bot.rooms.store import SQLiteStore
from tests.bot.factory import CHAT_ROW, SPACE_ROW
store = SQLiteStore(sys.argv[1])
store.write_rooms([SPACE_ROW])
store.mark_handled("$a")
store.save_position("s1", upto_batch=store.next_batch_number())
store._db.execute("BEGIN IMMEDIATE")
store._db.execute("DELETE FROM rooms")
os.kill(os.getpid(), 9)
"""


def test_what_was_written_survives_sigkill_and_what_was_begun_does_not(path):
    """Every call that returned is on disk; the transaction in progress is not; nobody holds the file any more."""
    killed = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_CALLS, str(path)], check=False)

    store = SQLiteStore(path)

    assert killed.returncode == -9
    assert store.rooms() == {SPACE_ROW.room_id: SPACE_ROW}
    assert (store.position, store.was_handled("$a")) == ("s1", True)
    store.close()


# Files that cannot be used


def test_a_database_in_use_is_refused_with_the_holders_pid(store):
    """Two bots on one database would both answer."""
    with pytest.raises(ConfigError, match=rf"in use by another bot \(pid {os.getpid()}\)"):
        SQLiteStore(store.path)

    store.write_rooms([CHAT_ROW])  # the refused one has not disturbed the holder


def test_a_closed_database_can_be_opened_again(store):
    """Closing lets go of it, twice is no harm."""
    store.close()
    store.close()

    SQLiteStore(store.path).close()


def test_a_read_only_look_is_possible_beside_a_running_bot(store):
    """It holds nothing, and writes nothing."""
    store.write_rooms([CHAT_ROW])

    look = SQLiteStore(store.path, read_only=True)

    assert look.rooms() == {CHAT: CHAT_ROW}
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        look.write_rooms([SPACE_ROW])
    look.close()


def test_a_damaged_file_is_reported_with_the_cure(path):
    """The next start after a local reset rebuilds everything from the homeserver."""
    path.write_bytes(b"this is no database, but it is longer than a header would be" * 50)

    with pytest.raises(StoreError, match=r"is damaged .*local-only"):
        SQLiteStore(path)


def test_a_database_whose_pages_are_overwritten_is_reported_as_damaged(store, path):
    """The header alone being right is not enough."""
    store.write_rooms([replace(CHAT_ROW, room_id=RoomId(f"!{n}"), title="x" * 500) for n in range(200)])
    store.close()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(40_000))

    with pytest.raises(StoreError, match="is damaged"):
        SQLiteStore(path)


def test_another_programs_database_is_refused_and_not_touched(path):
    """Its bytes stay as they are, and it is not held either."""
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE precious (x)")
    theirs.close()
    before = path.read_bytes()

    for _ in range(2):
        with pytest.raises(ConfigError, match="some other program's database"):
            SQLiteStore(path)

    assert path.read_bytes() == before


def test_a_database_of_a_newer_schema_is_refused(store, path):
    """An older bot would misread it."""
    store._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()

    for _ in range(2):
        with pytest.raises(
            ConfigError, match=f"has schema version {SCHEMA_VERSION + 1}, this bot knows {SCHEMA_VERSION}"
        ):
            SQLiteStore(path)


@pytest.mark.parametrize("where", ["file/bot.db", "missing/bot.db", ""])
def test_a_path_that_cannot_be_used_is_named(tmp_path, where):
    """Below a regular file, in a directory that does not exist, or a directory itself."""
    (tmp_path / "file").write_text("a regular file")

    with pytest.raises(ConfigError, match=r"MATRIX_DB_PATH .* cannot be used"):
        SQLiteStore(tmp_path / where)


def test_an_empty_file_becomes_a_database(path):
    """As mktemp makes them."""
    path.touch()

    SQLiteStore(path).close()

    assert path.stat().st_size > 0


def test_only_the_owner_may_read_a_new_database(store, path):
    """It names people and rooms."""
    assert path.stat().st_mode & 0o077 == 0


def test_a_database_belongs_to_one_account(store):
    """Another account's rooms would be misjudged."""
    store.bind_account(ME, "DEVICE")
    store.bind_account(ME, "OTHER-DEVICE")

    with pytest.raises(ConfigError, match="belongs to @bot:hs1, not @carol:hs1"):
        store.bind_account(CAROL, "DEVICE")

    assert store.meta("device_id") == "OTHER-DEVICE"


def test_a_first_start_that_was_killed_while_it_made_the_database_is_made_good(path):
    """SQLite takes the half-written part back: what is left is a database with nothing in it."""
    with closing(sqlite3.connect(path)) as empty:
        empty.execute("VACUUM")
    assert path.stat().st_size > 0

    store = SQLiteStore(path)

    assert store.created
    assert store.rooms() == {}
    store.close()


def test_a_look_leaves_nothing_behind(path):
    """Read-only means no side files either."""
    store = SQLiteStore(path)
    store.write_rooms([CHAT_ROW])
    store.close()
    before = sorted(path.parent.iterdir())

    look = SQLiteStore(path, read_only=True)
    seen = look.rooms()
    look.close()

    assert seen == {CHAT: CHAT_ROW}
    assert sorted(path.parent.iterdir()) == before
