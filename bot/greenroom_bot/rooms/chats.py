"""Make and change a person's Space and chats on the homeserver: the only writes of the bot besides talking."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import ChatId, RoomId, UserId, localpart_of, server_of
from greenroom_bot.matrix.retry import until_answered
from greenroom_bot.rooms.identity import IDENTITY_TYPE, Identity, initial_state_event, power_levels_override
from greenroom_bot.rooms.look import look_at_room
from greenroom_bot.rooms.records import Intent, RoomRow, chat_number
from greenroom_bot.rooms.store import StateStore
from greenroom_bot.rooms.view import RoomView, ServerView, direct_rooms

log = structlog.get_logger()

SETTLE_S = 2.0
"""How long the homeserver may still be making a room whose request got no answer. Only then the bot looks for it."""
JOIN_ATTEMPTS = 8
"""A join may need a server that is gone for good. After so many attempts the bot gives the invite up and logs it."""
SPACE_CHAT_ID = ChatId("space")


@dataclass(frozen=True)
class Provisioned:
    """A person's Space and first chat. `new` is False if they had both already."""

    space: RoomRow
    chat: RoomRow
    new: bool


class ChatManager:
    """Creates, finds, renames and archives chats. Every method may be repeated after a crash with the same request.

    `direct` mirrors the bot's `m.direct`: room -> person. `invites` are those that waited when the bot started.
    """

    def __init__(self, client: Client, store: StateStore, *, instance: str = "default", encrypt: bool = False) -> None:
        self.client, self.store, self.instance, self.encrypt = client, store, instance, encrypt
        self.direct: dict[RoomId, UserId] = {}
        self.invites: list[RoomView] = []
        self._recording = asyncio.Lock()
        self._turn: dict[UserId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._foreign: set[RoomId] = set()

    def note(self, view: ServerView) -> None:
        """Keep what no row holds of a start's view: direct rooms, waiting invites, rooms that others made."""
        self.direct = dict(view.direct)
        self.invites = [room for room in view.rooms.values() if room.membership == "invite"]
        self._foreign |= {room.room_id for room in view.rooms.values() if room.created_by not in ("", view.me)}

    async def accept_direct(self, room_id: RoomId, person: UserId) -> None:
        """Record the room in `m.direct`, then join. In this order a crash in between leaves no unknown room.

        Raises MatrixError if the invite is gone.
        """
        async with self._recording:
            if room_id not in self.direct:
                await self._record_direct(room_id, person)
        await self.join(room_id)

    async def _record_direct(self, room_id: RoomId, person: UserId) -> None:
        """Add the room to `m.direct`, and keep what other clients put there. Each write replaces the whole content, so
        one at a time."""
        path = ("user", self.client.user_id, "account_data", "m.direct")
        try:
            content = await until_answered("m.direct", lambda: self.client.request("GET", *path))
        except MatrixError as error:
            if error.status != 404:
                raise
            content = {}  # never set
        direct = {**direct_rooms(content), room_id: person}
        merged = {**content, person: [room for room, who in direct.items() if who == person]}
        await until_answered("m.direct", lambda: self.client.request("PUT", *path, body=merged))
        self.direct = direct

    async def join(self, room_id: RoomId) -> None:
        """Join a room and tell nio of it. Raises MatrixError if the homeserver refuses or cannot do it."""
        await until_answered("join", lambda: self.client.request("POST", "join", room_id), attempts=JOIN_ATTEMPTS)
        row = self.store.room(room_id)
        self.client.know_room(room_id, encrypted=bool(row and row.encrypted))

    async def decline(self, room_id: RoomId) -> None:
        """Decline an invite, unless it is gone. If another client accepted it, leave it alone: to the homeserver
        declining and leaving are the same request."""
        joined = await until_answered("joined_rooms", lambda: self.client.request("GET", "joined_rooms"))
        if room_id in joined["joined_rooms"]:
            return
        try:
            await until_answered("decline", lambda: self.client.request("POST", "rooms", room_id, "leave"))
        except MatrixError as error:
            log.info("invite_gone", room_id=room_id, seen=str(error))

    async def provision(self, person: UserId, request: str) -> Provisioned:
        """Return the person's Space and an open chat; make what they lack, once per `request`."""
        async with self._turn[person]:
            space = await self._space(person, request)
            chat = self.store.by_request(request, "chat")
            is_open = [c for c in self.store.chats_of(person) if c.status == "active" and not c.archived]
            if chat is None and is_open and not self.store.intent(request, "chat"):
                return Provisioned(space, is_open[0], new=False)
            return Provisioned(space, await self._chat(person, request, "", space), new=True)

    async def new_chat(self, person: UserId, title: str, request: str) -> RoomRow:
        """Make one more chat for the person, once per `request`, and a Space if they have none."""
        async with self._turn[person]:
            return await self._chat(person, request, title, await self._space(person, request))

    async def rename(self, row: RoomRow, title: str) -> RoomRow:
        """Set the room's name and return the new row."""
        await self._put_state(row.room_id, "m.room.name", "", {"name": title})
        return self._write(replace(row, title=title))

    async def archive(self, row: RoomRow) -> RoomRow:
        """Mark the chat as archived in its identity, and take it out of the Space's list. The room stays."""
        identity = self._identity(Intent(row.request, row.kind, row.chat_id, row.owner), row.space_id, row.title)
        content = identity.model_copy(update={"archived": True}).content()
        await self._put_state(row.room_id, IDENTITY_TYPE, "", content)
        row = self._write(replace(row, archived=True))
        if row.space_id and await self._list(row.space_id, row.room_id, {}):
            row = self._write(replace(row, linked=False))
        return row

    async def _space(self, person: UserId, request: str) -> RoomRow:
        space = self.store.space_of(person)
        if space is None:
            name = f"Chats of {localpart_of(person)}"
            return await self._room(Intent(request, "space", SPACE_CHAT_ID, person), name, None)
        if space.status == "orphaned":
            path, invite = ("rooms", space.room_id, "invite"), {"user_id": person}
            await until_answered("invite", lambda: self.client.request("POST", *path, body=invite))
            space = self._write(replace(space, status="active", detail=""))
        return space

    async def _chat(self, person: UserId, request: str, title: str, space: RoomRow) -> RoomRow:
        intent = self.store.intent(request, "chat")
        if intent is None:
            taken = [row.chat_id for row in self.store.chats_of(person)]
            taken += [other.chat_id for other in self.store.intents() if other.owner == person]
            number = max(map(chat_number, taken), default=0) + 1
            intent = Intent(request, "chat", ChatId(f"C{number}"), person)
        row = await self._room(intent, title or f"Chat {chat_number(intent.chat_id)}", space.room_id)
        if row.archived:
            return row
        linked = await self._list(space.room_id, row.room_id, {"via": [server_of(self.client.user_id)]})
        row = self.store.room(row.room_id) or row  # the room may have been judged again meanwhile
        return row if row.linked == linked else self._write(replace(row, linked=linked))

    async def _room(self, intent: Intent, title: str, space_id: RoomId | None) -> RoomRow:
        """Return the room of this intent: from our records, else from the server, else newly made.

        The bot looks before each attempt: an earlier `createRoom` may have taken effect although its answer was lost.
        Raises MatrixError if the server refuses the room.
        """
        if row := self.store.by_request(intent.request, intent.kind):
            return row
        if self.store.intent(intent.request, intent.kind):
            await asyncio.sleep(SETTLE_S)  # the homeserver may still be working on an attempt from before a crash
        self.store.add_intent(intent)
        found = await self._find(intent)
        body = self._create_body(intent, title, space_id)

        async def create() -> RoomId:
            return found.room_id if found else (await self.client.request("POST", "createRoom", body=body))["room_id"]

        async def look_again(wait_s: float) -> None:
            nonlocal found
            await asyncio.sleep(max(wait_s, SETTLE_S))
            found = await self._find(intent)

        room_id = await until_answered("createRoom", create, sleep=look_again)
        row = found or await self._look_at(room_id)
        assert row is not None, "a room that the bot just made carries the identity that the bot gave it"
        return row

    async def _find(self, intent: Intent) -> RoomRow | None:
        """Look through the joined rooms without a row, and return the room that this intent asked for.

        Raises MatrixError if one of them cannot be looked at: it might be that room.
        """
        joined = await until_answered("joined_rooms", lambda: self.client.request("GET", "joined_rooms"))
        known = self.store.rooms().keys() | self._foreign | self.direct.keys()
        for room_id in sorted(set(joined["joined_rooms"]) - known):
            try:
                row = await self._look_at(room_id)
            except MatrixError as error:
                if error.passing:
                    raise
                continue  # we are out of it again
            if row and (row.request, row.kind) == (intent.request, intent.kind):
                return row
        return self.store.by_request(intent.request, intent.kind)  # another handler may have looked at it meanwhile

    async def _look_at(self, room_id: RoomId) -> RoomRow | None:
        verdict = await look_at_room(self.client, self.store, room_id, instance=self.instance, direct=self.direct)
        row = self.store.room(room_id)
        if row is None and verdict.reason != "identity_missing":
            self._foreign.add(room_id)  # a room of ours without an identity may still be in the making
        return row

    def _identity(self, intent: Intent, space_id: RoomId | None, title: str) -> Identity:
        return Identity(
            kind="space" if intent.kind == "space" else "chat", chat_id=intent.chat_id, owner=intent.owner,
            space_id=space_id, instance=self.instance, request=intent.request, title=title,
        )  # fmt: skip

    def _create_body(self, intent: Intent, title: str, space_id: RoomId | None) -> dict[str, Any]:
        state: list[dict[str, Any]] = [initial_state_event(self._identity(intent, space_id, title))]
        if space_id:
            parent = {"via": [server_of(self.client.user_id)], "canonical": True}
            state.append({"type": "m.space.parent", "state_key": space_id, "content": parent})
        if self.encrypt and intent.kind == "chat":
            algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
            state.append({"type": "m.room.encryption", "state_key": "", "content": algorithm})
        return {
            "preset": "private_chat",
            "name": title,
            "invite": [intent.owner],
            "initial_state": state,
            "power_level_content_override": power_levels_override(),
            **({"creation_content": {"type": "m.space"}} if intent.kind == "space" else {}),
        }

    async def _put_state(self, room_id: RoomId, type_: str, state_key: str, content: Mapping[str, Any]) -> None:
        path = ("rooms", room_id, "state", type_, *([state_key] if state_key else []))
        await until_answered(type_, lambda: self.client.request("PUT", *path, body=content))

    async def _list(self, space_id: RoomId, room_id: RoomId, content: Mapping[str, Any]) -> bool:
        """Put a room into its Space's list, or with `{}` take it out. Return whether the homeserver did it.

        A refusal is only logged: a Space that the bot may not change any more is no reason to fail the chat.
        """
        try:
            await self._put_state(space_id, "m.space.child", room_id, content)
        except MatrixError as error:
            log.warning("space_list_refused", space_id=space_id, room_id=room_id, seen=str(error))
            return False
        return True

    def _write(self, row: RoomRow) -> RoomRow:
        self.store.write_rooms([row])
        return row
