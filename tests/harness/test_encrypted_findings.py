"""The rules for encrypted chats, on records in the making: no plain text, and nothing that the owner cannot read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from greenroom.faults import Entry
from greenroom.people.seen import SeenEvent
from greenroom.scenarios import Observed, Verdict, judge, table
from greenroom.scenarios.findings import waits_before_retries
from greenroom.scenarios.first_contact import promises_text
from greenroom.scenarios.judge import exit_code
from greenroom.scenarios.load import parse_promises
from greenroom.scenarios.observed import Why
from tests.harness.test_findings import ALICE, BOT, CHAT, Scene, through


class EncryptedScene(Scene):
    """A record of a bot that promises `encrypted: yes`. Every event of its chat comes encrypted, unless told."""

    def __init__(self, scenario: str, **more: object) -> None:
        given = {"command": "python", "answer": "{word}", "encrypted": True, "promises": {scenario: "yes"}, **more}
        self.observed = Observed(scenario, parse_promises(given, "x", Path("/")), bot=BOT, disturbed=True)
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


# -- the scenarios for encrypted chats


KEPT = {"DEV": "key"}
OTHER_KEYS = " with other keys; clients refuse a device whose keys change"


def restarted(after: dict[str, str], *, answers: bool = True, same_session: bool = True) -> EncryptedScene:
    """Return a record of `keys-after-restart`, with the bot's devices after it."""
    one = EncryptedScene("keys-after-restart").notes(devices_before=KEPT, same_session=same_session)
    one.asks(Why.SUBJECT, "x")
    return (one.says("x") if answers else one).notes(devices_after=after)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (KEPT, ""),
        ({**KEPT, "NEW": "other"}, "the bot came back as a new device, NEW instead of DEV: it lost its keys"),
        (
            {"DEV": "other"},
            f"the bot came back as device DEV{OTHER_KEYS}",
        ),
    ],
)
def test_a_bot_that_keeps_its_keys_is_the_same_device(after, says):
    """A new device, or other keys, is a failure even where the bot answers."""
    assert restarted(after).done() == (Verdict.FAILED if says else Verdict.PASSED, says)


def test_a_message_with_old_keys_must_be_read():
    """The bot is the same device and answers later questions, but not the one with the old keys."""
    assert restarted(KEPT, answers=False).done() == (
        Verdict.FAILED,
        "'x' was never answered, though a later question was",
    )


def test_new_keys_prove_nothing_about_old_ones():
    """If the owner's client made new keys meanwhile, there is no verdict."""
    verdict, says = restarted(KEPT, same_session=False).done()

    assert (verdict, "new keys meanwhile" in says) == (Verdict.INCONCLUSIVE, True)


def test_a_lost_store_may_mean_a_new_device():
    """What counts after the loss is that the bot answers again."""
    one = EncryptedScene("key-store-lost").notes(devices_before=KEPT, files_lost=1, devices_after={"NEW": "other"})

    assert one.done() == (Verdict.PASSED, "")


def test_a_bot_that_nobody_can_encrypt_for_any_more_is_told_why():
    """Other keys under the name of the old device explain the silence."""
    one = EncryptedScene("key-store-lost").notes(devices_before=KEPT, files_lost=1, devices_after={"DEV": "other"})

    verdict, says = one.asks(Why.AFTER, "y").verdict()

    assert (verdict, "device DEV with other keys" in says) == (Verdict.FAILED, True)


def test_without_a_store_nothing_is_lost():
    """A bot that keeps its keys elsewhere has no verdict, and the path is named."""
    verdict, says = EncryptedScene("key-store-lost").notes(files_lost=0).done()

    assert (verdict, says) == (
        Verdict.INCONCLUSIVE,
        "nothing could be lost: the bot keeps no keys at ${MATRIX_STORE_PATH}",
    )


@pytest.mark.parametrize(("read", "verdict"), [(True, Verdict.PASSED), (None, Verdict.FAILED)])
def test_a_new_device_must_read_one_answer(read, verdict):
    """Answers came that the new device could not read."""
    one = EncryptedScene("new-device").notes(answers_on_the_new_device=3, read_on_the_new_device=read)

    assert one.done()[0] is verdict


def test_a_device_without_a_signature_is_a_warning():
    """The verdict stays. The table, the promises file of a first contact and a record judged again have the warning."""
    one = through(EncryptedScene("answers").notes(unsigned_devices=["DEV"]))
    says = "the bot's device DEV is not cross-signed; clients begin to exclude it (MSC4153)"

    result = judge(Observed.from_json(one.observed.to_json()))

    assert (result.verdict, result.warnings, exit_code([result])) == (Verdict.PASSED, (says,), 0)
    assert table([result])[1].endswith(f"warning: {says}")
    assert f"  # warning: {says}\n  answers: yes" in promises_text(one.observed.promises, [result])
