"""What the bot remembers: one row per room (never deleted, only marked), rooms on order, and messages to send."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId

RowKind = Literal["space", "chat", "direct"]
Status = Literal["active", "left", "tombstoned", "orphaned", "powerless", "conflict"]


@dataclass(frozen=True)
class RoomRow:
    """One room as the local database has it.

    `chat_id` is empty for a direct room. `detail` explains a status other than `active`: who kicked us and why, or the
    room that replaced this one. `linked`: the owner's Space lists this chat as its child. `created_ts` is the server's
    clock in milliseconds; it decides which of two rooms with one chat id came first.
    """

    room_id: RoomId
    kind: RowKind
    chat_id: ChatId
    owner: UserId
    space_id: RoomId | None = None
    title: str = ""
    archived: bool = False
    linked: bool = False
    encrypted: bool = False
    status: Status = "active"
    detail: str = ""
    request: str = ""
    created_ts: int = 0


@dataclass(frozen=True)
class Intent:
    """A room that somebody asked for and that may not exist yet: kept from before `createRoom` until it has a row."""

    request: str
    kind: RowKind
    chat_id: ChatId
    owner: UserId


@dataclass(frozen=True)
class OutgoingMessage:
    """A message to send. `txn_id` comes from the event that it answers, so the homeserver drops a repeat."""

    room_id: RoomId
    body: str
    txn_id: str
    notice: bool = False


def txn_id(event_id: str, part: str = "") -> str:
    """Return the transaction id of the answer to an event. It is the same after every crash."""
    return "greenroom-" + hashlib.sha256(f"{event_id}\n{part}".encode()).hexdigest()[:32]


def chat_number(chat_id: ChatId | str) -> int:
    """Return 2 for `C2`, 0 for anything else."""
    digits = chat_id.removeprefix("C")
    return int(digits) if chat_id.startswith("C") and digits.isdecimal() else 0
