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
from greenroom_bot.matrix.ids import ChatId, RoomId, UserId, server_of
from greenroom_bot.matrix.retry import until_answered
from greenroom_bot.rooms.identity import IDENTITY_TYPE, Identity
from greenroom_bot.rooms.look import look_at_room
from greenroom_bot.rooms.recipe import create_body, default_version
from greenroom_bot.rooms.records import SPACE_CHAT_ID, Intent, RoomRow
from greenroom_bot.rooms.store import SQLiteStore, chat_number
from greenroom_bot.rooms.titles import title_or_default
from greenroom_bot.rooms.view import RoomView, ServerView, direct_rooms

log = structlog.get_logger()

SETTLE_S = 2.0
"""How long the homeserver may still be making a room after its answer was lost."""
JOIN_ATTEMPTS = 8
"""A join may need a server that is gone for good. After this many attempts the bot drops the invite and logs it."""
CAPABILITIES_ATTEMPTS = 8
"""If the homeserver cannot say its room version in this many attempts, a room is made without."""


@dataclass(frozen=True)
class Provisioned:
    """A person's Space and chat, and the request that they are the answer to: a repeat finds what it made itself."""

    space: RoomRow
    chat: RoomRow
    request: str

    @property
    def new_space(self) -> bool:
        return self.space.request == self.request

    @property
    def new_chat(self) -> bool:
        return self.chat.request == self.request


class ChatManager:
    """Creates, finds, renames, archives and restores chats.

    Every method may be repeated after a crash with the same request.

    `direct` mirrors the bot's `m.direct`: room -> person. `invites` are those that waited at the start.
    """

    def __init__(self, client: Client, store: SQLiteStore, *, instance: str = "default", encrypt: bool = False) -> None:
        self.client, self.store, self.instance, self.encrypt = client, store, instance, encrypt
        self.direct: dict[RoomId, UserId] = {}
        self.invites: list[RoomView] = []
        self._recording = asyncio.Lock()
        self._making = asyncio.Lock()  # two rooms asked for at once may get mixed up on the homeserver
        self._turn: dict[UserId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._foreign: set[RoomId] = set()
        self._room_version: str | None = None
        self._version_asked = False

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

    async def is_in(self, room_id: RoomId) -> bool:
        """Return whether the bot has joined a room. It may have, in another session too, when an invite is told again.

        Declining an invite and leaving are the same request, so this is asked before an invite is answered.
        """
        joined = await self.client.insist("joined_rooms", "GET", "joined_rooms")
        return room_id in joined["joined_rooms"]

    async def decline(self, room_id: RoomId) -> None:
        """Decline an invite unless it is gone."""
        try:
            await self.client.insist("decline", "POST", "rooms", room_id, "leave")
        except MatrixError as error:
            log.info("invite_gone", room_id=room_id, seen=str(error))

    async def provision(self, person: UserId, request: str, *, encrypted: bool = False) -> Provisioned:
        """Return the person's Space and an open chat, and make what is missing, once per `request`.

        `encrypted`: the room that it was asked in is, so a chat made now is, too. Encryption is never switched off, so
        a repeat decides the same, or for encryption if that was switched on in between.
        """
        async with self._turn[person]:
            space = await self._space(person, request)
            chat = self.store.by_request(request, "chat")
            is_open = [c for c in self.store.chats_of(person) if c.status == "active" and not c.archived]
            if chat is None and is_open and not self.store.intent(request, "chat"):
                return Provisioned(space, is_open[0], request)
            return Provisioned(space, await self._chat(person, request, "", space, encrypted), request)

    async def new_chat(self, person: UserId, title: str, request: str, *, encrypted: bool = False) -> Provisioned:
        """Make one more chat for the person, once per `request`, and their Space if they have none.

        `encrypted` as for `provision`.
        """
        async with self._turn[person]:
            space = await self._space(person, request)
            return Provisioned(space, await self._chat(person, request, title, space, encrypted), request)

    async def rename(self, row: RoomRow, title: str) -> RoomRow:
        """Set the room's name; a title without anything visible stands for the name that an untitled room has."""
        title = title_or_default(title, row.chat_id, row.owner)
        await self._put_state(row.room_id, "m.room.name", "", {"name": title})
        return self._change(row, title=title)

    async def archive(self, row: RoomRow) -> RoomRow:
        """Mark the chat as archived in its identity and remove it from the Space's list. The room stays."""
        async with self._turn[row.owner]:
            row = await self._put_identity(row, row.space_id, archived=True)
            if row.space_id and await self._list(row.space_id, row.room_id, listed=False):
                row = self._change(row, linked=False)
            return row

    async def restore(self, row: RoomRow) -> RoomRow:
        """Mark the chat as open in its identity and list it in its owner's Space, which may be another by now."""
        async with self._turn[row.owner]:
            space = self.store.space_of(row.owner)
            return await self._open_in(space.room_id if space else row.space_id, row)

    async def _space(self, person: UserId, request: str) -> RoomRow:
        """Return the person's Space with all their open chats in it."""
        space = self.store.space_of(person)
        if space is None:
            space = await self._room(Intent(request, "space", SPACE_CHAT_ID, person), "", None)
        if space.status == "orphaned":
            path, invite = ("rooms", space.room_id, "invite"), {"user_id": person}
            await self.client.insist("invite", "POST", *path, body=invite)
            space = self._change(space, status="active", detail="")
        for chat in self.store.chats_of(person):  # of a Space that the bot is out of
            if chat.status == "active" and not chat.archived and chat.space_id != space.room_id:
                try:
                    await self._open_in(space.room_id, chat)
                except MatrixError as error:
                    log.warning("chat_not_moved", space_id=space.room_id, room_id=chat.room_id, seen=str(error))
        return space

    async def _open_in(self, space_id: RoomId | None, chat: RoomRow) -> RoomRow:
        """Make a chat an open one of this Space.

        The list comes before the identity: after a crash in between the identity shows that there is work left.
        """
        linked = space_id is not None and await self._list(space_id, chat.room_id, listed=True)
        return self._change(await self._put_identity(chat, space_id, archived=False), linked=linked)

    async def _chat(self, person: UserId, request: str, title: str, space: RoomRow, encrypted: bool) -> RoomRow:
        intent = self.store.intent(request, "chat")
        if intent is None:
            taken = {row.chat_id for row in self.store.chats_of(person)}
            taken |= {other.chat_id for other in self.store.intents() if other.owner == person}
            number = max(map(chat_number, taken), default=0) + 1
            while f"C{number}" in taken:  # a number too large to be one
                number += 1
            intent = Intent(request, "chat", ChatId(f"C{number}"), person)
        row = await self._room(intent, title, space.room_id, encrypted=self.encrypt or encrypted)
        if row.archived:
            return row
        linked = await self._list(space.room_id, row.room_id, listed=True)
        return self._change(row, linked=linked)

    async def _room(self, intent: Intent, title: str, space_id: RoomId | None, *, encrypted: bool = False) -> RoomRow:
        """Return the room of this intent: from the records, else from the server, else newly made.

        Each attempt looks first: an earlier one may have reached the server although its answer was lost, and a message
        in the new room may have brought its row. Raises MatrixError when the homeserver refuses the room, or fails for
        some minutes in nothing but this.
        """
        if row := self.store.by_request(intent.request, intent.kind):
            return row
        if self.store.intent(intent.request, intent.kind):
            await asyncio.sleep(SETTLE_S)  # an attempt from before a crash may still be under way
        self.store.add_intent(intent)
        identity, version = self._identity(intent, space_id, title), await self._version()
        body = create_body(identity, self.client.user_id, room_version=version, encrypted=encrypted)

        async def attempt() -> RoomRow:
            if row := await self._find(intent) or self.store.by_request(intent.request, intent.kind):
                return row
            async with self._making:
                answer = await self.client.request("POST", "createRoom", body=body)
            made = await self._look(RoomId(answer["room_id"]))
            assert made is not None, "a room just made has the identity that it was made with"
            return made

        return await until_answered("createRoom", attempt, well=self.client.well, settle_s=SETTLE_S)

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

    async def _version(self) -> str | None:
        """Return the version that new rooms have, None if the homeserver does not say. A definite answer is kept."""
        if not self._version_asked:
            try:
                answer = await self.client.insist("capabilities", "GET", "capabilities", attempts=CAPABILITIES_ATTEMPTS)
                self._room_version, self._version_asked = default_version(answer), True
            except MatrixError as error:
                log.warning("room_version_unknown", seen=str(error))
                self._version_asked = not error.passing
        return self._room_version

    def _identity(
        self, of: Intent | RoomRow, space_id: RoomId | None, title: str, *, archived: bool = False
    ) -> Identity:
        return Identity(
            kind="space" if of.kind == "space" else "chat",
            chat_id=of.chat_id,
            owner=of.owner,
            space_id=space_id,
            instance=self.instance,
            request=of.request,
            title=title_or_default(title, of.chat_id, of.owner),
            archived=archived,
        )

    async def _put_identity(self, row: RoomRow, space_id: RoomId | None, *, archived: bool) -> RoomRow:
        """Write a chat's identity anew, and its row."""
        identity = self._identity(row, space_id, row.title, archived=archived)
        await self._put_state(row.room_id, IDENTITY_TYPE, "", identity.content())
        return self._change(row, space_id=space_id, archived=archived)

    async def _put_state(self, room_id: RoomId, type_: str, state_key: str, content: Mapping[str, Any]) -> None:
        path = ("rooms", room_id, "state", type_, *([state_key] if state_key else []))
        await self.client.insist(type_, "PUT", *path, body=content)

    async def _list(self, space_id: RoomId, room_id: RoomId, *, listed: bool) -> bool:
        """Put a room into its Space's list, or take it out. Return whether the homeserver accepted it.

        A refusal is logged and does not fail the chat: the bot may have lost its power in the Space.
        """
        content = {"via": [server_of(self.client.user_id)]} if listed else {}
        try:
            await self._put_state(space_id, "m.space.child", room_id, content)
        except MatrixError as error:
            log.warning("space_list_refused", space_id=space_id, room_id=room_id, seen=str(error))
            return False
        return True

    def _change(self, row: RoomRow, **facts: Any) -> RoomRow:
        """Write some fields of a row; a reconciliation may have written others meanwhile."""
        row = replace(self.store.room(row.room_id) or row, **facts)
        self.store.write_rooms([row])
        return row
