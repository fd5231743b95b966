"""Reading messages and sending replies: encryption, edits, quotations, and each answer once."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, replace

import structlog
from nio import Event, MegolmEvent, RoomMessageText, RoomSendResponse

from greenroom_bot.matrix.client import Client, ok
from greenroom_bot.matrix.encryption import share_keys
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import EventId, RoomId
from greenroom_bot.matrix.retry import until_answered
from greenroom_bot.matrix.sync import ANSWER_RELATION, relation
from greenroom_bot.rooms.records import OutgoingMessage
from greenroom_bot.rooms.store import SQLiteStore

log = structlog.get_logger()

UNDECRYPTABLE = "I cannot decrypt this message: my device has no key for it. Please send it again."
TOO_LONG = "My answer is too long for one message."
KEY_WAIT_S = 10.0
"""How long undecryptable messages wait for their key: keys travel apart from messages and may arrive later."""
KEYS_AWAITED_MAX = 1000
"""Of so many Megolm sessions the bot remembers until when it waits. It starts anew with those that it has forgotten."""

QUOTE = re.compile(r"> (\* )?<@[^>\n]*>.*\n(> .*\n)*\n")


@dataclass(frozen=True)
class Reply:
    """What to say about an event. With `once` it is said once per room under that key; `notice` makes it an `m.notice`,
    which no well-behaved bot answers in turn."""

    text: str
    once: str = ""
    notice: bool = True


class Messenger:
    """Turns events into text and text into events. `key_wait_s` bounds the wait for a late encryption key."""

    def __init__(self, client: Client, store: SQLiteStore, *, key_wait_s: float = KEY_WAIT_S) -> None:
        self.client, self.store, self.key_wait_s = client, store, key_wait_s
        self._key_arrived = asyncio.Event()
        self._deadlines: dict[str, float] = {}

    def await_key(self, event: MegolmEvent) -> float:
        """Return when the wait for the key of this message's Megolm session ends, by the monotonic clock.

        Call it when the message arrives: the first call starts the time, so messages that arrived together wait
        together, and nobody waits again for a key that did not come.
        """
        if event.session_id not in self._deadlines:
            if len(self._deadlines) == KEYS_AWAITED_MAX:
                del self._deadlines[next(iter(self._deadlines))]
            self._deadlines[event.session_id] = time.monotonic() + self.key_wait_s
        return self._deadlines[event.session_id]

    def key_arrived(self, session_id: str) -> None:
        """Wake every message that waits for a key."""
        self._deadlines.pop(session_id, None)
        self._key_arrived.set()
        self._key_arrived = asyncio.Event()

    async def send(self, message: OutgoingMessage) -> str:
        """Send until the homeserver has accepted or refused the message; return the text that it accepted, or "".

        A refusal (after a kick, say) is logged as `send_refused`. If the homeserver is well, but fails in this room
        for some minutes, the message is given up and logged as `send_failed`.
        """
        body = sendable(message.body)
        content = {
            "msgtype": "m.notice" if message.notice else "m.text",
            "body": body,
            "m.relates_to": {"rel_type": ANSWER_RELATION, "event_id": message.answers},
        }

        async def attempt() -> None:
            await share_keys(self.client, message.room_id)
            sending = self.client.room_send(
                message.room_id, "m.room.message", content, tx_id=message.txn_id, ignore_unverified_devices=True
            )
            await ok(sending, RoomSendResponse)

        try:
            await until_answered("send", attempt, well=self.client.well)
            return body
        except MatrixError as error:
            if error.passing:
                log.error("send_failed", room_id=message.room_id, seen=str(error), lost="this message is not sent")
                return ""
            log.warning("send_refused", room_id=message.room_id, seen=str(error))
            if too_large(error) and message.body != TOO_LONG:
                return await self.send(replace(message, body=TOO_LONG, notice=True))
            return ""

    async def say(self, room_id: RoomId, reply: Reply, event_id: str) -> str:
        """Send the reply to an event, unless it is said once per room and was said already; return what was sent.

        Noted after sending: a crash in between repeats the send under the same transaction id.
        """
        if reply.once and self.store.was_told(room_id, reply.once):
            return ""
        sent = await self.send(OutgoingMessage(room_id, reply.text, EventId(event_id), notice=reply.notice))
        if reply.once:
            self.store.tell_once(room_id, reply.once)
        return sent

    def text(self, event: Event) -> str:
        """Return the text of a message as a person reads it; "" if there is none or its key is missing."""
        if isinstance(event, MegolmEvent):
            try:
                event = self.client.decrypt_event(event)
            except Exception:  # nio lets EncryptionError, LocalProtocolError and vodozemac's own errors out
                return ""
        return without_quote(event) if isinstance(event, RoomMessageText) else ""

    async def read(self, room_id: RoomId, event: Event) -> str | Reply:
        """Return the text of a message, empty if it has none for the bot; or the reply if it stays unreadable."""
        if isinstance(event, MegolmEvent):
            event = await self._decrypt_late(event) or event
        if isinstance(event, MegolmEvent):
            log.warning("message_undecryptable", room_id=room_id, event_id=event.event_id, device=self.client.device_id)
            return Reply(UNDECRYPTABLE, once=f"undecryptable {event.session_id}")
        return without_quote(event).strip() if isinstance(event, RoomMessageText) else ""

    async def _decrypt_late(self, event: MegolmEvent) -> Event | None:
        deadline = self.await_key(event)
        while True:
            arrived = self._key_arrived
            try:
                return self.client.decrypt_event(event)
            except Exception as error:  # nio lets EncryptionError, LocalProtocolError and vodozemac's own errors out
                log.debug("key_missing", event_id=event.event_id, seen=str(error))
            try:
                await asyncio.wait_for(arrived.wait(), deadline - time.monotonic())
            except TimeoutError:
                return None


def sendable(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate. It has no UTF-8 form, and Synapse answers 500 to it.

    JSON escapes can carry one in. Synapse accepts and returns every other character, NUL included.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def too_large(error: MatrixError) -> bool:
    """Return whether an event was refused for its size; then nothing was stored under its transaction id."""
    return error.status == 413 or error.errcode == "M_TOO_LARGE"


def is_edit(event: Event) -> bool:
    """Return whether the event edits an earlier one: the bot does not answer a message again when a typo is mended."""
    return relation(event).get("rel_type") == "m.replace"


def without_quote(event: RoomMessageText) -> str:
    """Return the text of a message, without the quotation that older clients put before a reply.

    Spec 1.13 removed that fallback, and a person may begin a message with `> ` too. So only the fallback's own shape is
    removed, and only from a reply: `> <@author:server>` and more lines with `> `, then an empty line. A reply that
    consists of nothing else is returned as it is.
    """
    body = sendable(event.body)
    quote = QUOTE.match(body) if "m.in_reply_to" in relation(event) else None
    return body[quote.end() :] if quote and body[quote.end() :].strip() else body
