"""Reading what people write and talking back."""

from __future__ import annotations

import asyncio
import re

import nio
import pytest

from greenroom_bot.matrix.errors import SessionOver
from greenroom_bot.messenger import Messenger, Reply, is_edit, without_quote
from greenroom_bot.rooms.records import OutgoingMessage
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


ANSWERS = [("hello", "$a/?#"), ("another text", "$a/?#"), ("hello", "$b")]


def test_a_transaction_id_comes_from_the_event_it_answers():
    """The same after every crash, another for every event, and fit for a URL."""
    first, again, other = (OutgoingMessage("!chat", text, answers).txn_id for text, answers in ANSWERS)

    assert first == again != other
    assert re.fullmatch("[a-z0-9-]+", first)


async def test_the_same_answer_sent_twice_arrives_once(chat, messenger):
    """The homeserver drops the second by its transaction id."""
    for _ in range(2):
        await messenger.send(OutgoingMessage("!chat", "hello", "$e"))

    assert chat.said() == ["hello"]


async def test_answers_are_texts_and_remarks_are_notices(chat, messenger):
    """An answer is a text; all else is a notice, which no well-behaved bot answers."""
    await messenger.send(OutgoingMessage("!chat", "answer", "$c"))
    await messenger.say("!chat", Reply("answer", notice=False), "$d")
    await messenger.say("!chat", Reply("remark"), "$e")

    assert [e["content"]["msgtype"] for _, e in chat.history[-3:]] == ["m.text", "m.text", "m.notice"]


async def test_an_answer_names_the_event_that_it_answers(chat, messenger):
    """By it a bot with an older database sees what is answered; clients show the message as any other."""
    await messenger.say("!chat", Reply("remark"), "$e")

    assert chat.history[-1][1]["content"]["m.relates_to"] == {"rel_type": "m.reference", "event_id": "$e"}


async def test_something_is_said_once_per_room(server, chat, messenger):
    """A reply with a key is said once per room, until the store forgets it."""
    warning = Reply("Careful!", once="archived")
    await messenger.say("!chat", warning, "$a")
    await messenger.say("!chat", warning, "$b")
    assert chat.said() == ["Careful!"]

    messenger.store.forget_told("!chat")
    await messenger.say("!chat", warning, "$c")

    assert chat.said() == ["Careful!", "Careful!"]


async def test_a_crash_between_saying_and_noting_repeats_nothing(chat, messenger, monkeypatch):
    """Marked after sending: the repeat carries the same transaction id."""
    monkeypatch.setattr(messenger.store, "tell_once", lambda *_: True)
    await messenger.say("!chat", Reply("Careful!", once="warning"), "$a")
    monkeypatch.undo()
    await messenger.say("!chat", Reply("Careful!", once="warning"), "$a")

    assert chat.said() == ["Careful!"]


async def test_a_refused_message_is_logged_and_a_dead_session_is_raised(server, chat, messenger, log_lines):
    """The first concerns a room, the second the whole bot."""
    server.fail("/send/", 403, {"errcode": "M_FORBIDDEN", "error": "no"})
    await messenger.say("!chat", Reply("x"), "$a")
    server.fail("/send/", 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "gone"})
    with pytest.raises(SessionOver):
        await messenger.say("!chat", Reply("x"), "$b")

    assert [line["event"] for line in log_lines if line["log_level"] == "warning"] == ["send_refused"]


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udfff", "\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ufeff\0\x1b\uffff", "\ufeff\0\x1b\uffff"),
    ],
    ids=ascii,
)
async def test_what_no_homeserver_takes_is_replaced_before_it_is_sent(chat, messenger, body, sent):
    """A lone surrogate becomes U+FFFD, a pair its character, and everything else stays."""
    await messenger.send(OutgoingMessage("!chat", body, "$e"))

    assert chat.said() == [sent]


async def test_what_is_read_has_no_lone_surrogates(messenger):
    """A JSON escape can carry one in; commands and responders get text that can be written down."""
    assert await messenger.read("!chat", nio.Event.parse_event(text("a\ud800b"))) == "a\ufffdb"


REPLY = {"m.in_reply_to": {"event_id": "$x"}}
QUOTED = "> <@bot:hs1> one\n> two\n\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("hello", "hello"),
        (QUOTED + "answer", "answer"),
        (QUOTED + "> my own\n\nanswer", "> my own\n\nanswer"),
        ("> * <@bot:hs1> waves\n\nanswer", "answer"),
        ("> my own quotation\n\nanswer", "> my own quotation\n\nanswer"),
        ("> <@bot:hs1> no empty line\nanswer", "> <@bot:hs1> no empty line\nanswer"),
        (QUOTED, QUOTED),
        ("answer\n" + QUOTED, "answer\n" + QUOTED),
        (">shouting", ">shouting"),
        ("", ""),
    ],
)
def test_the_quotation_before_a_reply_is_removed_and_nothing_else(body, said):
    """Only the lines that older clients put there, and only if something follows them."""
    assert without_quote(nio.Event.parse_event(text(body, **{"m.relates_to": REPLY}))) == said


@pytest.mark.parametrize("relation", [None, {}, "x", {"rel_type": "m.thread", "event_id": "$x"}], ids=str)
def test_a_message_that_is_no_reply_keeps_every_line(relation):
    """A person may begin a message with a quotation."""
    body = QUOTED + "what do you make of this?"

    assert without_quote(nio.Event.parse_event(text(body, **{"m.relates_to": relation}))) == body


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
    """What was answered is not answered again for a typo."""
    assert is_edit(nio.Event.parse_event(text("x", **{"m.relates_to": relation}))) is edit


async def test_only_texts_are_read(messenger):
    """A notice has no text for the bot: nobody answers notices."""
    notice = nio.Event.parse_event(event("m.room.message", {"msgtype": "m.notice", "body": "beep"}, sender=ALICE))

    assert await messenger.read("!chat", nio.Event.parse_event(text(" hello "))) == "hello"
    assert await messenger.read("!chat", notice) == ""


def undecryptable(session_id="s"):
    """Return a message of Alice that nobody has the key for, as nio hands it over."""
    content = {**ENCRYPTED, "session_id": session_id}
    encrypted = nio.Event.parse_event(event("m.room.encrypted", content, sender=ALICE))
    encrypted.room_id = "!chat"
    return encrypted


async def test_a_message_that_stays_unreadable_is_told_once_for_each_key(chat, messenger, log_lines):
    """After waiting for its key; the log has every one of them."""
    for number, session_id in enumerate(["one", "one", "two", "two", "one"]):
        reply = await messenger.read("!chat", undecryptable(session_id))
        assert isinstance(reply, Reply)
        await messenger.say("!chat", reply, f"$e{number}")

    assert len(chat.said()) == 2
    assert "cannot decrypt" in chat.said()[0]
    assert len([line for line in log_lines if line["event"] == "message_undecryptable"]) == 5


async def test_a_key_that_did_not_come_is_not_waited_for_again(messenger):
    """Neither by the next message of its Megolm session nor by one that arrived while the first waited."""
    messenger.await_key(undecryptable("other"))
    await messenger.read("!chat", undecryptable())
    messenger.key_wait_s = 1000

    async with asyncio.timeout(10):
        assert isinstance(await messenger.read("!chat", undecryptable()), Reply)
        assert isinstance(await messenger.read("!chat", undecryptable("other")), Reply)


async def test_the_keys_that_are_waited_for_are_bounded(messenger, monkeypatch):
    """Anybody in a room can make up sessions; the oldest are forgotten."""
    monkeypatch.setattr("greenroom_bot.messenger.KEYS_AWAITED_MAX", 3)

    for number in range(10):
        messenger.await_key(undecryptable(str(number)))

    assert list(messenger._deadlines) == ["7", "8", "9"]


async def test_a_key_that_comes_late_is_waited_for(chat, messenger, client, monkeypatch):
    """Keys travel apart from messages."""
    messenger.key_wait_s = 30
    keys = []
    readable = nio.Event.parse_event(text("secret"))

    def decrypt(_):
        if not keys:
            raise nio.exceptions.EncryptionError("no session")
        return readable

    monkeypatch.setattr(client, "decrypt_event", decrypt)
    reading = asyncio.create_task(messenger.read("!chat", undecryptable()))
    await asyncio.sleep(0)
    assert not reading.done()
    keys.append("key")
    messenger.key_arrived("s")

    assert await reading == "secret"
    assert messenger.text(undecryptable()) == "secret"
    assert chat.said() == []


async def test_the_text_of_a_message_without_its_key_is_empty(messenger):
    """A log line does not wait for keys."""
    assert messenger.text(undecryptable()) == ""
