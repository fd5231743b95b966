"""Rooms and sync answers as a homeserver would describe them, built fact by fact.

A `Room` holds state events; a `Scene` holds rooms and turns them into `/sync` JSON, so that a test of
the planner goes through the same parsing as the bot does.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.identity import IDENTITY_TYPE, VERSION
from greenroom_bot.rooms.planner import Plan, RoomOutcome, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.view import ServerView, server_view

ME = UserId("@bot:hs1")
ALICE, CAROL, DAVE = UserId("@alice:hs1"), UserId("@carol:hs1"), UserId("@dave:hs1")
SPACE, CHAT, OTHER_CHAT, DIRECT = RoomId("!space"), RoomId("!chat"), RoomId("!other-chat"), RoomId("!direct:hs1")
INSTANCE = "default"

_numbers = itertools.count(1)


def event(
    type_: str,
    content: Any,
    *,
    sender: str = ME,
    state_key: str | None = None,
    ts: int = 1000,
    event_id: str | None = None,
    unsigned: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a room event; a state event when `state_key` is given."""
    built = {
        "type": type_,
        "content": content,
        "sender": sender,
        "origin_server_ts": ts,
        "event_id": event_id or f"${type_}-{next(_numbers)}",
    }
    if state_key is not None:
        built["state_key"] = state_key
    if unsigned is not None:
        built["unsigned"] = unsigned
    return built


def text(body: Any, sender: str = ALICE, **content: Any) -> dict[str, Any]:
    """Return a text message."""
    return event("m.room.message", {"msgtype": "m.text", "body": body, **content}, sender=sender)


def identity_content(**changed: Any) -> dict[str, Any]:
    """Return the identity of Alice's first chat, with some keys changed; `...` as a value takes the key out."""
    content: dict[str, Any] = {
        "v": VERSION, "kind": "chat", "chat_id": "C1", "owner": ALICE, "space_id": SPACE, "instance": INSTANCE,
        "request": "$asked-for-chat", "title": "Chat 1", "archived": False,
    }  # fmt: skip
    return {key: value for key, value in {**content, **changed}.items() if value is not ...}


class Room:
    """A room's state, told by methods that each put one event and return the room."""

    def __init__(
        self, room_id: str, *, creator: str = ME, version: str | None = "12", ts: int = 1000, **create: Any
    ) -> None:
        self.room_id = RoomId(room_id)
        self.state: dict[tuple[str, str], dict[str, Any]] = {}
        self.timeline: list[dict[str, Any]] = []
        content = create if version is None else {"room_version": version, **create}
        self.put("m.room.create", content, sender=creator, ts=ts)
        self.member(creator, "join")

    def put(self, type_: str, content: Any, *, key: str = "", sender: str = ME, **more: Any) -> Room:
        self.state[type_, key] = event(type_, content, sender=sender, state_key=key, **more)
        return self

    def without(self, type_: str, key: str = "") -> Room:
        del self.state[type_, key]
        return self

    def member(self, user_id: str, membership: str, *, by: str | None = None, **content: Any) -> Room:
        return self.put("m.room.member", {"membership": membership, **content}, key=user_id, sender=by or user_id)

    def identity(self, *, by: str = ME, **changed: Any) -> Room:
        return self.put(IDENTITY_TYPE, identity_content(**changed), sender=by)

    def named(self, name: Any, by: str = ALICE) -> Room:
        return self.put("m.room.name", {"name": name}, sender=by)

    def power(self, **content: Any) -> Room:
        return self.put("m.room.power_levels", content)

    def replaced_by(self, room_id: Any = ...) -> Room:
        content = {"body": "moved"} if room_id is ... else {"body": "moved", "replacement_room": room_id}
        return self.put("m.room.tombstone", content, sender=ALICE)

    def children(self, *room_ids: str) -> Room:
        for room_id in room_ids:
            self.put("m.space.child", {"via": ["hs1"]}, key=room_id)
        return self

    def encrypted(self) -> Room:
        return self.put("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})

    def section(self) -> dict[str, Any]:
        """Return the room's entry in `rooms.join` or `rooms.leave`."""
        return {
            "state": {"events": list(self.state.values())},
            "timeline": {"events": list(self.timeline), "limited": False, "prev_batch": "p"},
        }


def alices_space(room_id: str = SPACE, *, children: tuple[str, ...] = (CHAT,), ts: int = 900) -> Room:
    """Return the Space that the bot made for Alice."""
    room = Room(room_id, type="m.space", ts=ts).member(ALICE, "join").named("Chats of alice", by=ME).children(*children)
    return room.identity(
        kind="space", chat_id="space", space_id=None, request="$asked-for-space", title="Chats of alice"
    )


def alices_chat(room_id: str = CHAT, *, ts: int = 1000, **identity: Any) -> Room:
    """Return a chat that the bot made for Alice."""
    return Room(room_id, ts=ts).member(ALICE, "join").named("Chat 1", by=ME).identity(**identity)


SPACE_ROW = RoomRow(
    SPACE, "space", ChatId("space"), ALICE, title="Chats of alice", request="$asked-for-space", created_ts=900
)
CHAT_ROW = RoomRow(
    CHAT, "chat", ChatId("C1"), ALICE, SPACE, title="Chat 1", linked=True, request="$asked-for-chat", created_ts=1000
)


@dataclass
class Scene:
    """What the server says, and what we remember."""

    joined: list[Room] = field(default_factory=list)
    left: list[Room] = field(default_factory=list)
    invited: list[Room] = field(default_factory=list)
    rows: list[RoomRow] = field(default_factory=list)
    direct: dict[str, Any] = field(default_factory=dict)
    joined_rooms: list[str] | Any | None = ...
    """What `/joined_rooms` answers: the rooms of the sync unless said otherwise, None when it failed."""

    def sync(self) -> dict[str, Any]:
        """Return the tokenless full-state `/sync` body."""
        return {
            "next_batch": "s1",
            "rooms": {
                "join": {room.room_id: room.section() for room in self.joined},
                "leave": {room.room_id: room.section() for room in self.left},
                "invite": {room.room_id: {"invite_state": room.section()["state"]} for room in self.invited},
            },
            "account_data": {"events": [{"type": "m.direct", "content": self.direct}]},
        }

    def view(self) -> ServerView:
        joined = [room.room_id for room in self.joined] if self.joined_rooms is ... else self.joined_rooms
        return server_view(self.sync(), joined, ME)

    def plan(self, *, interrupted: tuple[str, ...] = ()) -> Plan:
        rows = {row.room_id: row for row in self.rows}
        return plan(self.view(), rows, instance=INSTANCE, interrupted=interrupted)

    def verdict(self, room_id: str, *, interrupted: tuple[str, ...] = ()) -> RoomOutcome:
        """Return the one outcome of a room."""
        (found,) = (o for o in self.plan(interrupted=interrupted).outcomes if o.room_id == room_id)
        return found


def in_step(**changed: Any) -> Scene:
    """Return Alice's Space and chat, server and records in agreement; keywords replace parts of the scene."""
    return Scene(**{"joined": [alices_space(), alices_chat()], "rows": [SPACE_ROW, CHAT_ROW], **changed})
