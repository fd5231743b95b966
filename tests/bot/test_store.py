"""What the bot's database keeps: rows, intents, position and handled events, also over a kill between any two calls."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from greenroom_bot.matrix.ids import ChatId, RoomId
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.reconcile import reconcile_single_room, resolve_chat_id
from greenroom_bot.rooms.records import Intent
from greenroom_bot.rooms.store import SQLiteStore, StateStore, chat_number
from tests.bot.factory import ALICE, CAROL, CHAT, CHAT_ROW, OTHER_CHAT, SPACE_ROW


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
    """Every field of a row survives a restart."""
    rows = [SPACE_ROW, replace(CHAT_ROW, archived=True, encrypted=True, status="tombstoned", detail="x", title="Ü “”")]
    store.write_rooms(rows)

    again = reopened(store)

    assert again.rooms() == {row.room_id: row for row in rows}
    assert again.room(CHAT) == rows[1]
    assert again.room(RoomId("!none")) is None
    again.close()


def test_writing_a_room_again_replaces_its_row(store):
    """A room has one row; a second write replaces it."""
    store.write_rooms([CHAT_ROW])
    store.write_rooms([replace(CHAT_ROW, title="New")])

    assert store.room(CHAT).title == "New"


def test_rows_are_written_all_or_none(store):
    """If one of several rows cannot be written, none of them is."""
    broken = replace(SPACE_ROW, created_ts=2**70)

    with pytest.raises(OverflowError):
        store.write_rooms([CHAT_ROW, broken])

    assert store.rooms() == {}
    store.write_rooms([CHAT_ROW])
    assert store.rooms() == {CHAT: CHAT_ROW}


def test_chats_of_a_person_come_in_order_of_their_numbers(store):
    """A person's chats are sorted by number, C2 before C10, and do not include other people's."""
    ids = ["C10", "C2", "C1"]
    store.write_rooms([replace(CHAT_ROW, room_id=RoomId(f"!{c}"), chat_id=ChatId(c)) for c in ids])
    store.write_rooms([replace(CHAT_ROW, room_id=RoomId("!carol"), owner=CAROL), SPACE_ROW])

    assert [row.chat_id for row in store.chats_of(ALICE)] == ["C1", "C2", "C10"]


@pytest.mark.parametrize(
    ("status", "usable"),
    [("active", True), ("powerless", True), ("orphaned", True), ("left", False), ("conflict", False)],
)
def test_a_space_that_we_are_out_of_or_that_is_disputed_gets_no_new_chats(store, status, usable):
    """A Space gets new chats unless the bot left it or another Space disputes it."""
    store.write_rooms([replace(SPACE_ROW, status=status)])

    assert bool(store.space_of(ALICE)) is usable


@pytest.mark.parametrize("in_use", ["active", "powerless"])
def test_a_space_in_use_comes_before_one_that_its_owner_left(store, in_use):
    """Of several Spaces a new chat goes into one that its owner is in."""
    store.write_rooms([replace(SPACE_ROW, status="orphaned"), replace(SPACE_ROW, room_id=RoomId("!z"), status=in_use)])

    assert store.space_of(ALICE).room_id == "!z"


@pytest.mark.parametrize(
    ("chat_id", "number"),
    [
        ("C2", 2),
        ("C999999999", 999999999),
        ("C1000000000", 0),
        ("C" + "9" * 5000, 0),
        ("C02", 0),
        ("C٢", 0),
        ("C", 0),
        ("space", 0),
        ("C1x", 0),
        ("c2", 0),
        ("", 0),
    ],
)
def test_a_chat_number_is_what_follows_the_c(chat_id, number):
    """The number of `C2` is 2; every other form has the number 0, and more than nine digits are no number."""
    assert chat_number(chat_id) == number


class MemoryStore:
    """A StateStore with no method more than the protocol has."""

    def __init__(self) -> None:
        self.kept = {}

    def rooms(self):
        return dict(self.kept)

    def room(self, room_id):
        return self.kept.get(room_id)

    def write_rooms(self, rows):
        self.kept |= {row.room_id: row for row in rows}

    def intents(self):
        return []


async def test_reconciliation_needs_no_more_than_a_state_store(server, client):
    """Any store with the methods of StateStore can be reconciled."""
    memory: StateStore = MemoryStore()
    server.chat()

    await reconcile_single_room(client, memory, ChatManager(client, memory), CHAT, ALICE)

    assert resolve_chat_id(memory, CHAT, ALICE) == "C1"


# Half-made rooms


def test_an_intent_stays_until_its_room_has_a_row(store):
    """An intent survives a restart, and the transaction that writes its room's row removes it."""
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
    """Position and handled events survive a restart, and batch numbers go on upwards."""
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
    """Before the saved position only HANDLED_KEPT event ids are kept."""
    monkeypatch.setattr("greenroom_bot.rooms.store.HANDLED_KEPT", 10)
    for number in range(1, 101):
        store.mark_handled(f"$e{number}", batch=number)

    store.save_position("s", upto_batch=100)

    kept = [number for number in range(1, 101) if store.was_handled(f"$e{number}")]
    assert kept == list(range(90, 101))


def test_events_after_the_saved_position_are_never_forgotten(store, monkeypatch):
    """Event ids after the saved position are kept, however many, because those events come again after a kill."""
    monkeypatch.setattr("greenroom_bot.rooms.store.HANDLED_KEPT", 10)
    for number in range(1, 101):
        store.mark_handled(f"$e{number}", batch=number)

    store.save_position("s", upto_batch=30)

    assert all(store.was_handled(f"$e{number}") for number in range(31, 101))
    assert not store.was_handled("$e30")


def test_an_event_is_marked_once(store):
    """To mark an event again is no error."""
    store.mark_handled("$a")
    store.mark_handled("$a")

    assert store.was_handled("$a")


def test_something_is_told_once_until_it_is_forgotten(store):
    """A thing is told once per room, also over a restart. Only what is about the room itself is ever forgotten."""
    assert store.tell_once(CHAT, "stranger @carol:hs1")
    assert store.tell_once(OTHER_CHAT, "archived")
    assert store.tell_once(CHAT, "unresolved")
    assert not store.tell_once(CHAT, "unresolved")
    assert store.tell_once(CHAT, "archived")

    again = reopened(store)
    assert again.was_told(CHAT, "unresolved")
    again.write_rooms([CHAT_ROW])

    assert not again.was_told(CHAT, "archived")
    assert not again.was_told(CHAT, "unresolved")
    assert again.was_told(CHAT, "stranger @carol:hs1")
    assert again.was_told(OTHER_CHAT, "archived")
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
    """After SIGKILL every call that returned is on disk, an open transaction is not, and nobody holds the file."""
    killed = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_CALLS, str(path)], check=False)

    store = SQLiteStore(path)

    assert killed.returncode == -9
    assert store.rooms() == {SPACE_ROW.room_id: SPACE_ROW}
    assert (store.position, store.was_handled("$a")) == ("s1", True)
    store.close()
