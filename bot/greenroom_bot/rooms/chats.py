"""Making and changing a person's Space and chats on the homeserver: the only writes the bot does besides talking."""

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
from greenroom_bot.matrix.retry import pause
from greenroom_bot.rooms.identity import IDENTITY_TYPE, Identity, initial_state_event, power_levels_override
from greenroom_bot.rooms.look import look_at_room
from greenroom_bot.rooms.records import Intent, RoomRow
from greenroom_bot.rooms.store import SQLiteStore, chat_number
from greenroom_bot.rooms.view import RoomView, ServerView, direct_rooms

log = structlog.get_logger()

SETTLE_S = 2.0
"""How long the homeserver may still be making a room after its answer was lost."""
JOIN_ATTEMPTS = 8
"""A join may need a server that is gone for good. After this many attempts the bot drops the invite and logs it."""
SPACE_CHAT_ID = ChatId("space")


@dataclass(frozen=True)
class Provisioned:
    """A person's Space and first chat; `new` is False when they had them already."""

    space: RoomRow
    chat: RoomRow
    new: bool


class ChatManager:
    """Creates, finds, renames and archives chats. Every method may be repeated after a crash with the same request.

    `direct` mirrors the bot's `m.direct`: room -> person. `invites` are those that waited at the start.
    """

    def __init__(self, client: Client, store: SQLiteStore, *, instance: str = "default", encrypt: bool = False) -> None:
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
        """Record the room in `m.direct`, then join: after a crash in between the room is still known.

        Raises MatrixError if the invite is gone.
        """
        async with self._recording:
            if room_id not in self.direct:
                await self._record_direct(room_id, person)
        await self.join(room_id)

    async def _record_direct(self, room_id: RoomId, person: UserId) -> None:
        """Add the room to `m.direct`, beside those of other clients. One at a time: each write replaces the event."""
        path = ("user", self.client.user_id, "account_data", "m.direct")
        try:
            content = await self.client.insist("m.direct", "GET", *path)
        except MatrixError as error:
            if error.status != 404:
                raise
            content = {}  # never set
        direct = {**direct_rooms(content), room_id: person}
        merged = {**content, person: [room for room, who in direct.items() if who == person]}
        await self.client.insist("m.direct", "PUT", *path, body=merged)
        self.direct = direct

    async def join(self, room_id: RoomId) -> None:
        await self.client.insist("join", "POST", "join", room_id, attempts=JOIN_ATTEMPTS)
        row = self.store.room(room_id)
        self.client.know_room(room_id, encrypted=bool(row and row.encrypted))

    async def decline(self, room_id: RoomId) -> None:
        """Decline an invite unless it is gone.

        Declining and leaving are the same request, so an invite that another session accepted is left alone.
        """
        joined = await self.client.insist("joined_rooms", "GET", "joined_rooms")
        if room_id in joined["joined_rooms"]:
            return
        try:
            await self.client.insist("decline", "POST", "rooms", room_id, "leave")
        except MatrixError as error:
            log.info("invite_gone", room_id=room_id, seen=str(error))

    async def provision(self, person: UserId, request: str) -> Provisioned:
        """Return the person's Space and an open chat, and make what is missing, once per `request`."""
        async with self._turn[person]:
            space = await self._space(person, request)
            chat = self.store.by_request(request, "chat")
            is_open = [c for c in self.store.chats_of(person) if c.status == "active" and not c.archived]
            if chat is None and is_open and not self.store.intent(request, "chat"):
                return Provisioned(space, is_open[0], new=False)
            return Provisioned(space, await self._chat(person, request, "", space), new=True)

    async def new_chat(self, person: UserId, title: str, request: str) -> RoomRow:
        """Make one more chat for the person, once per `request`, and their Space if they have none."""
        async with self._turn[person]:
            return await self._chat(person, request, title, await self._space(person, request))

    async def rename(self, row: RoomRow, title: str) -> RoomRow:
        await self._put_state(row.room_id, "m.room.name", "", {"name": title})
        return self._write(replace(row, title=title))

    async def archive(self, row: RoomRow) -> RoomRow:
        """Mark the chat as archived in its identity and remove it from the Space's list. The room stays."""
        intent = Intent(row.request, "chat", row.chat_id, row.owner)
        identity = self._identity(intent, row.space_id, row.title, archived=True)
        await self._put_state(row.room_id, IDENTITY_TYPE, "", identity.content())
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
            await self.client.insist("invite", "POST", *path, body=invite)
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
        row = self.store.room(row.room_id) or row  # a reconciliation may have written it meanwhile
        return row if row.linked == linked else self._write(replace(row, linked=linked))

    async def _room(self, intent: Intent, title: str, space_id: RoomId | None) -> RoomRow:
        """Return the room of this intent: from the records, else from the server, else newly made.

        Each attempt looks first: an earlier one may have reached the server although its answer was lost, and a message
        in the new room may have brought its row. Raises MatrixError when the server refuses the room.
        """
        if row := self.store.by_request(intent.request, intent.kind):
            return row
        if self.store.intent(intent.request, intent.kind):
            await asyncio.sleep(SETTLE_S)  # an attempt from before a crash may still be under way
        self.store.add_intent(intent)
        body = self._create_body(intent, title, space_id)
        attempt = 0
        while True:
            if row := await self._find(intent) or self.store.by_request(intent.request, intent.kind):
                return row
            attempt += 1
            try:
                room_id = RoomId((await self.client.request("POST", "createRoom", body=body))["room_id"])
                break
            except MatrixError as error:
                failed = error
            await pause("createRoom", failed, attempt, settle_s=SETTLE_S)
        made = await self._look(room_id)
        assert made is not None, "a room just made has the identity that it was made with"
        return made

    async def _find(self, intent: Intent) -> RoomRow | None:
        """Look for the intent's room among joined rooms without a row.

        Raises MatrixError when one of them cannot be looked at: it might be that room.
        """
        joined = await self.client.insist("joined_rooms", "GET", "joined_rooms")
        known = self.store.rooms().keys() | self._foreign | self.direct.keys()
        for room_id in sorted(set(joined["joined_rooms"]) - known):
            try:
                row = await self._look(room_id)
            except MatrixError as error:
                if error.passing:
                    raise
                continue  # the bot has left it again
            if row and (row.request, row.kind) == (intent.request, intent.kind):
                return row
        return None

    async def _look(self, room_id: RoomId) -> RoomRow | None:
        """Judge a joined room and return its row, None if the room is not the bot's."""
        room, _ = await look_at_room(self.client, self.store, room_id, instance=self.instance, direct=self.direct)
        row = self.store.room(room_id)
        if row is None and (room.identity is not None or room.created_by not in ("", self.client.user_id)):
            self._foreign.add(room_id)  # a room of the bot without an identity may still be in the making
        return row

    def _identity(self, intent: Intent, space_id: RoomId | None, title: str, *, archived: bool = False) -> Identity:
        return Identity(
            kind="space" if intent.kind == "space" else "chat",
            chat_id=intent.chat_id,
            owner=intent.owner,
            space_id=space_id,
            instance=self.instance,
            request=intent.request,
            title=title,
            archived=archived,
        )

    def _create_body(self, intent: Intent, title: str, space_id: RoomId | None) -> dict[str, Any]:
        identity = self._identity(intent, space_id, title)
        state: list[dict[str, Any]] = [initial_state_event(identity)]
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
        await self.client.insist(type_, "PUT", *path, body=content)

    async def _list(self, space_id: RoomId, room_id: RoomId, content: Mapping[str, Any]) -> bool:
        """Put a room into its Space's list, or remove it with `{}`. Return whether the homeserver accepted it.

        A refusal is logged and does not fail the chat: the bot may have lost its power in the Space.
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
