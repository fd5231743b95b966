"""The bot's records of rooms: one row per room, never deleted, only marked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from greenroom_bot.matrix.ids import ChatId, EventId, RoomId, UserId

RowKind = Literal["space", "chat", "direct"]
Status = Literal["active", "left", "tombstoned", "orphaned", "powerless", "conflict"]
SPACE_CHAT_ID = ChatId("space")


@dataclass(frozen=True)
class RoomRow:
    """One room as the local database has it.

    `chat_id` is empty for a direct room. `detail` explains a status that is not active: who kicked us and why,
    or the room that replaced this one. `linked`: the owner's Space lists this chat as its child. `created_ts` is
    the server's clock in milliseconds; it decides which of two rooms with one chat id came first.
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
    """A room that may not exist yet: kept from before `createRoom` until the room has a row."""

    request: str
    kind: RowKind
    chat_id: ChatId
    owner: UserId


@dataclass(frozen=True)
class OutgoingMessage:
    """The answer to the event `answers`. `txn_id` comes from that event, so the homeserver drops a repeat."""

    room_id: RoomId
    body: str
    answers: EventId
    notice: bool = False

    @property
    def txn_id(self) -> str:
        return "greenroom-" + hashlib.sha256(self.answers.encode()).hexdigest()[:32]
