"""The messenger reads what people write and talks back."""

from __future__ import annotations

import asyncio

import nio
import pytest

from greenroom_bot.matrix.errors import SessionOver
from greenroom_bot.messenger import Messenger, is_edit, without_quote
from greenroom_bot.rooms.records import OutgoingMessage, txn_id
from greenroom_bot.rooms.store import SQLiteStore
from tests.bot.factory import ALICE, event, text

ENCRYPTED = {
    "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "device_id": "D", "sender_key": "k", "session_id": "s",
}  # fmt: skip


@pytest.fixture
def chat(server, client):
    client.know_room("!chat", encrypted=False)
    return server.chat()


@pytest.fixture
def messenger(client, tmp_path):
    store = SQLiteStore(tmp_path / "bot.db")
    yield Messenger(client, store, key_wait_s=0.01)
    store.close()


def test_a_transaction_id_comes_from_the_event_it_answers():
    """A transaction id is the same for the same event and part, and differs for every other."""
    assert txn_id("$a") == txn_id("$a")
    assert len({txn_id("$a"), txn_id("$b"), txn_id("$a", "2"), txn_id("$b", "2")}) == 4
    assert txn_id("$a/?#").isascii()
    assert "/" not in txn_id("$a/?#")


async def test_the_same_answer_sent_twice_arrives_once(chat, messenger):
    """The homeserver drops a second sending with the same transaction id."""
    for _ in range(2):
        await messenger.send(OutgoingMessage("!chat", "hello", txn_id("$e")))

    assert chat.said() == ["hello"]


async def test_answers_are_texts_and_remarks_are_notices(chat, messenger):
    """Answers are `m.text`; the bot's own remarks are `m.notice`, which no well-behaved bot answers."""
    await messenger.send(OutgoingMessage("!chat", "answer", "t1"))
    await messenger.say("!chat", "remark", "$e")

    assert [e["content"]["msgtype"] for _, e in chat.history[-2:]] == ["m.text", "m.notice"]


async def test_something_is_said_once_per_room(server, chat, messenger):
    """A remark is said once per room until it is forgotten."""
    assert await messenger.say_once("!chat", "warning", "Careful!", "$a")
    assert not await messenger.say_once("!chat", "warning", "Careful!", "$b")
    messenger.store.forget_told(["!chat"])
    assert await messenger.say_once("!chat", "warning", "Careful!", "$c")

    assert chat.said() == ["Careful!", "Careful!"]


async def test_a_crash_between_saying_and_noting_repeats_nothing(chat, messenger, monkeypatch):
    """After a crash between sending and noting, the repeat has the same transaction id and arrives once."""
    monkeypatch.setattr(messenger.store, "tell_once", lambda *_: True)
    await messenger.say_once("!chat", "warning", "Careful!", "$a")
    monkeypatch.undo()
    await messenger.say_once("!chat", "warning", "Careful!", "$a")

    assert chat.said() == ["Careful!"]


async def test_a_refused_message_is_logged_and_a_dead_session_is_raised(server, chat, messenger, log_lines):
    """A refused message is logged, since it concerns one room; a dead session is raised, since it concerns the bot."""
    server.fail("/send/", 403, {"errcode": "M_FORBIDDEN", "error": "no"})
    await messenger.say("!chat", "x", "$a")
    server.fail("/send/", 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "gone"})
    with pytest.raises(SessionOver):
        await messenger.say("!chat", "x", "$b")

    assert [line["event"] for line in log_lines if line["log_level"] == "warning"] == ["send_refused"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("hello", "hello"),
        ("> <@bot:hs1> one\n> two\n\nanswer", "answer"),
        ("> quote only", ""),
        ("answer\n> not a fallback", "answer\n> not a fallback"),
        (">shouting", ">shouting"),
        ("", ""),
    ],
)
def test_a_quotation_before_an_answer_is_dropped(body, said):
    """Lines that start with "> " at the very top are a quotation by an older client, and are dropped."""
    assert without_quote(body).strip() == said


@pytest.mark.parametrize(
    ("relation", "edit"),
    [
        ({"rel_type": "m.replace", "event_id": "$x"}, True),
        ({"rel_type": "m.thread"}, False),
        (None, False),
        ("x", False),
    ],
    ids=str,
)
def test_an_edit_is_what_replaces_an_earlier_message(relation, edit):
    """Only a relation of the type `m.replace` makes a message an edit."""
    assert is_edit(nio.Event.parse_event(text("x", **{"m.relates_to": relation}))) is edit


async def test_only_texts_are_read(messenger):
    """The bot reads texts and ignores notices."""
    notice = nio.Event.parse_event(event("m.room.message", {"msgtype": "m.notice", "body": "beep"}, sender=ALICE))

    assert await messenger.read("!chat", nio.Event.parse_event(text(" hello "))) == "hello"
    assert await messenger.read("!chat", notice) is None


async def test_a_message_that_stays_unreadable_is_told_once(chat, messenger, log_lines):
    """An unreadable message is told once in its room; the log has every one."""
    for number in range(2):
        encrypted = nio.Event.parse_event(event("m.room.encrypted", ENCRYPTED, sender=ALICE, event_id=f"$e{number}"))
        encrypted.room_id = "!chat"
        assert await messenger.read("!chat", encrypted) is None

    assert len(chat.said()) == 1
    assert "cannot decrypt" in chat.said()[0]
    assert len([line for line in log_lines if line["event"] == "message_undecryptable"]) == 2


async def test_a_key_that_comes_late_is_waited_for(chat, messenger, client, monkeypatch):
    """A message whose key comes late is read when the key is there."""
    messenger.key_wait_s = 30
    keys = []
    readable = nio.Event.parse_event(text("secret"))

    def decrypt(_):
        if not keys:
            raise nio.exceptions.EncryptionError("no session")
        return readable

    monkeypatch.setattr(client, "decrypt_event", decrypt)
    encrypted = nio.Event.parse_event(event("m.room.encrypted", ENCRYPTED, sender=ALICE))
    reading = asyncio.create_task(messenger.read("!chat", encrypted))
    await asyncio.sleep(0)
    assert not reading.done()
    keys.append("key")
    messenger.key_arrived()

    assert await reading == "secret"
    assert chat.said() == []
