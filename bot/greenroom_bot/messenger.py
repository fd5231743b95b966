"""Read what people write and talk back: encryption, edits, quotations, and each answer sent once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import structlog
from nio import Event, MegolmEvent, RoomMessageText, RoomSendResponse

from greenroom_bot.matrix.client import Client, ok
from greenroom_bot.matrix.encryption import share_keys
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.matrix.retry import until_answered
from greenroom_bot.rooms.records import OutgoingMessage, txn_id
from greenroom_bot.rooms.store import SQLiteStore

log = structlog.get_logger()

TOO_LONG = "My answer is too long for one message."
KEY_WAIT_S = 10.0
"""How long to wait for the key of an undecryptable message: keys travel apart from messages and may come later."""


class Messenger:
    """Turns events into text and text into events. `key_wait_s` bounds the wait for a late encryption key."""

    def __init__(self, client: Client, store: SQLiteStore, *, key_wait_s: float = KEY_WAIT_S) -> None:
        self.client, self.store, self.key_wait_s = client, store, key_wait_s
        self._key_arrived = asyncio.Event()

    def key_arrived(self) -> None:
        """Try again to decrypt every message that waits for a key."""
        self._key_arrived.set()
        self._key_arrived = asyncio.Event()

    async def send(self, message: OutgoingMessage) -> None:
        """Send a message until the homeserver accepts or refuses it. A refusal, for instance after a kick, is logged.

        If the message is too large, send a short notice instead.
        """
        content = {"msgtype": "m.notice" if message.notice else "m.text", "body": message.body}

        async def attempt() -> None:
            await share_keys(self.client, message.room_id)
            sending = self.client.room_send(
                message.room_id, "m.room.message", content, tx_id=message.txn_id, ignore_unverified_devices=True
            )
            await ok(sending, RoomSendResponse)

        try:
            await until_answered("send", attempt)
        except MatrixError as error:
            log.warning("send_refused", room_id=message.room_id, seen=str(error))
            if too_large(error) and message.body != TOO_LONG:
                await self.send(replace(message, body=TOO_LONG, notice=True))

    async def say(self, room_id: RoomId, text: str, event_id: str) -> None:
        """Answer an event with a notice, which no well-behaved bot answers in turn."""
        await self.send(OutgoingMessage(room_id, text, txn_id(event_id), notice=True))

    async def say_once(self, room_id: RoomId, what: str, text: str, event_id: str) -> bool:
        """Answer an event unless `what` was said in this room before. Return whether it was said now.

        The note follows the sending: after a crash in between, the repeat has the same transaction id.
        """
        if self.store.was_told(room_id, what):
            return False
        await self.say(room_id, text, event_id)
        return self.store.tell_once(room_id, what)

    async def read(self, room_id: RoomId, event: Event) -> str | None:
        """Return the text of a message; None if it has none for us, or stays unreadable (which the bot says once)."""
        if isinstance(event, MegolmEvent):
            event = await self._decrypt_late(event) or event
        if isinstance(event, MegolmEvent):
            log.warning("message_undecryptable", room_id=room_id, event_id=event.event_id, device=self.client.device_id)
            text = "I cannot decrypt this message: my device has no key for it. Please send it again."
            await self.say_once(room_id, "undecryptable", text, event.event_id)
            return None
        return without_quote(event.body).strip() if isinstance(event, RoomMessageText) else None

    async def _decrypt_late(self, event: MegolmEvent) -> Event | None:
        deadline = time.monotonic() + self.key_wait_s
        while True:
            arrived = self._key_arrived
            try:
                return self.client.decrypt_event(event)
            except Exception as error:  # EncryptionError, LocalProtocolError and vodozemac's own errors
                log.debug("key_missing", event_id=event.event_id, seen=str(error))
            try:
                await asyncio.wait_for(arrived.wait(), deadline - time.monotonic())
            except TimeoutError:
                return None


def too_large(error: MatrixError) -> bool:
    """Return whether the homeserver refused an event for its size. Then its transaction id is still free."""
    return error.status == 413 or error.errcode == "M_TOO_LARGE"


def is_edit(event: Event) -> bool:
    """Return whether the event replaces an earlier one. The bot does not answer again when a person mends a typo."""
    relation = event.source.get("content", {}).get("m.relates_to")
    return isinstance(relation, dict) and relation.get("rel_type") == "m.replace"


def without_quote(body: str) -> str:
    """Drop the quotation that older clients put before a reply (a fallback removed from the spec in 1.13)."""
    lines = body.split("\n")
    while lines and lines[0].startswith("> "):
        lines.pop(0)
    return "\n".join(lines)
