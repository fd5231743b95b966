"""The rules for encrypted chats, on records in the making: no plain text, and nothing that the owner cannot read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from greenroom.faults import Entry
from greenroom.people.seen import SeenEvent
from greenroom.scenarios import Verdict
from greenroom.scenarios.findings import waits_before_retries
from greenroom.scenarios.load import parse_promises
from greenroom.scenarios.observed import Why
from tests.harness.test_findings import ALICE, BOT, CHAT, Scene


class EncryptedScene(Scene):
    """A record of a bot that promises `encrypted: yes`. Every event of its chat comes encrypted, unless told."""

    def __init__(self, scenario: str, **more: object) -> None:
        super().__init__(scenario)
        given = {"command": "python", "answer": "{word}", "encrypted": True, "promises": {scenario: "yes"}, **more}
        self.observed.promises = parse_promises(given, "x", Path("/"))
        self.asks(Why.FIRST, "a").says("a")

    def sees(self, text: str = "z", *, kind: str = "m.room.message", sender: str = BOT, **mark: bool) -> EncryptedScene:
        """Add an event of the bot in the chat, with its marks."""
        marks = {"encrypted": False, "in_encrypted_room": True, **mark}
        content = {"ciphertext": "…"} if kind == "m.room.encrypted" else {"msgtype": "m.text", "body": text}
        event = SeenEvent(CHAT, f"$seen-{len(self.observed.events)}", kind, sender, content, None, **marks)
        self.observed.events.append(event)
        return self

    def _said(self, sender: str, event_id: str, text: str) -> EncryptedScene:
        content = {"msgtype": "m.text", "body": text}
        event = SeenEvent(CHAT, event_id, "m.room.message", sender, content, None, True, True)
        self.observed.events.append(event)
        return self

    def done(self) -> tuple[Verdict, str]:
        """Let the bot answer two later questions, and return the verdict."""
        return self.asks(Why.AFTER, "y").says("y").asks(Why.AFTER, "z").says("z").verdict()


def test_a_bot_that_answers_encrypted_has_passed():
    """Everything in the encrypted chat came encrypted; a reaction in plain text is what clients send."""
    assert EncryptedScene("answers").sees(kind="m.reaction").done() == (Verdict.PASSED, "")


def test_plain_text_in_an_encrypted_room_fails_every_scenario():
    """Whatever the scenario is about, a message in plain text is a failure that quotes the message."""
    told = "the bot said 'oops' in plain text in an encrypted room; that must never happen"

    for scenario in ("answers", "kicked", "lost-response"):
        assert EncryptedScene(scenario).sees("oops").done() == (Verdict.FAILED, told)


def test_plain_text_counts_only_where_and_when_a_room_is_encrypted():
    """What the bot said before its room was switched, or what a person says, is nobody's failure."""
    before = EncryptedScene("answers").sees("hello", in_encrypted_room=False).sees("hello", sender=ALICE)

    assert before.done() == (Verdict.PASSED, "")


def test_a_bot_that_does_not_promise_encryption_is_not_judged_by_it():
    """Without `encrypted: yes` the rule says nothing."""
    assert EncryptedScene("answers", encrypted=False).sees("oops").done() == (Verdict.PASSED, "")


def test_a_message_that_its_owner_cannot_read_is_a_failure():
    """The bot encrypted something, and the owner's device got no key."""
    verdict, says = EncryptedScene("answers").sees(kind="m.room.encrypted").done()

    assert verdict is Verdict.FAILED
    assert says.endswith("did not share its key with its owner's device")


def test_a_chat_that_the_bot_makes_must_be_encrypted():
    """With `chat: made by the bot`, the owner cannot see to that."""
    one = EncryptedScene("answers", chat="made by the bot")
    one.observed.events = [replace(e, encrypted=False, in_encrypted_room=False) for e in one.observed.events]

    assert one.done() == (Verdict.FAILED, "the bot made a chat that is not encrypted")


@pytest.mark.parametrize(("transactions", "waits"), [("aa", [1.0]), ("ab", [])])
def test_two_sends_of_an_encrypted_message_are_one_if_they_say_so(transactions, waits):
    """The same text is encrypted differently each time, so only an equal transaction id tells."""
    sends = [
        Entry(float(at), "PUT", f"/rooms/!a/send/m.room.encrypted/{name}", "", BOT, sent=f"cipher {at}", status=429)
        for at, name in enumerate(transactions)
    ]

    assert waits_before_retries(sends) == waits
