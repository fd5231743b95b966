"""Making and changing a person's Space and chats on the homeserver: the only writes the bot does besides talking."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import ChatId, RoomId, UserId, localpart_of, server_of
from greenroom_bot.matrix.retry import backoff_s, until_answered, until_blamed
from greenroom_bot.rooms.identity import IDENTITY_TYPE, Identity, initial_state_event, power_levels_override
from greenroom_bot.rooms.planner import plan
from greenroom_bot.rooms.records import Intent, RoomRow
from greenroom_bot.rooms.store import StateStore, chat_number
from greenroom_bot.rooms.view import RoomView, ServerView, direct_rooms, room_view

log = structlog.get_logger()

SETTLE_S = 2.0
"""How long the homeserver may still be making a room after its answer to us was lost, before we look for it."""
JOIN_ATTEMPTS = 8
"""A join may need a server that is gone for good; then the invite is given up, with a log line."""
SPACE_CHAT_ID = ChatId("space")


@dataclass(frozen=True)
class Provisioned:
    """A person's Space and first chat; ``new`` is False when they had them already."""

    space: RoomRow
    chat: RoomRow
    new: bool


class ChatManager:
    """Creates, finds, renames and archives chats. Every method may be repeated after a crash with the same request.

    ``direct`` mirrors our ``m.direct``: room -> person; ``invites`` are those that waited when we started.
    """

    def __init__(self, client: Client, store: StateStore, *, instance: str = "default", encrypt: bool = False) -> None:
        self.client, self.store, self.instance, self.encrypt = client, store, instance, encrypt
        self.direct: dict[RoomId, UserId] = {}
        self.invites: list[RoomView] = []
        self._recording = asyncio.Lock()
        self._turn: dict[UserId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._foreign: set[RoomId] = set()

    def note(self, view: ServerView) -> None:
        """Take over from a start's view what no row tells: direct rooms, waiting invites, rooms that others made."""
        self.direct = dict(view.direct)
        self.invites = [room for room in view.rooms.values() if room.membership == "invite"]
        self._foreign |= {room.room_id for room in view.rooms.values() if room.created_by not in ("", view.me)}

    async def accept_direct(self, room_id: RoomId, person: UserId) -> None:
        """Record the room in ``m.direct``, then join. In this order a crash in between leaves nothing unknown.

        Raises MatrixError when the invite is not there any more.
        """
        async with self._recording:
            if room_id not in self.direct:
                await self._record_direct(room_id, person)
        await self.join(room_id)

    async def _record_direct(self, room_id: RoomId, person: UserId) -> None:
        """Add to ``m.direct``, beside what other clients put there. One at a time: each write replaces all of it."""
        path = ("user", self.client.user_id, "account_data", "m.direct")
        try:
            content = await until_answered("m.direct", lambda: self.client.request("GET", *path))
        except MatrixError as why:
            if why.status != 404:
                raise
            content = {}  # never set
        direct = {**direct_rooms(content), room_id: person}
        merged = {**content, person: [room for room, who in direct.items() if who == person]}
        await until_answered("m.direct", lambda: self.client.request("PUT", *path, body=merged))
        self.direct = direct

    async def join(self, room_id: RoomId) -> None:
        await until_answered("join", lambda: self.client.request("POST", "join", room_id), attempts=JOIN_ATTEMPTS)
        row = self.store.room(room_id)
        self.client.know_room(room_id, encrypted=bool(row and row.encrypted))

    async def decline(self, room_id: RoomId) -> None:
        """Decline an invite. One that is gone already is declined enough; one accepted elsewhere is left alone, since
        to the homeserver declining and leaving are the same request."""
        joined = await until_answered("joined_rooms", lambda: self.client.request("GET", "joined_rooms"))
        if room_id in joined["joined_rooms"]:
            return
        try:
            await until_answered("decline", lambda: self.client.request("POST", "rooms", room_id, "leave"))
        except MatrixError as why:
            log.info("invite_gone", room_id=room_id, seen=str(why))

    async def provision(self, person: UserId, request: str) -> Provisioned:
        """See to it that the person has a Space and at least one open chat, each made once per ``request``."""
        async with self._turn[person]:
            space = await self._space(person, request)
            chat = self.store.by_request(request, "chat")
            is_open = [c for c in self.store.chats_of(person) if c.status == "active" and not c.archived]
            if chat is None and is_open and not self.store.intent(request, "chat"):
                return Provisioned(space, is_open[0], new=False)
            return Provisioned(space, await self._chat(person, request, "", space), new=True)

    async def new_chat(self, person: UserId, title: str, request: str) -> RoomRow:
        """Make one more chat for the person, once per ``request``; their Space too if they have none."""
        async with self._turn[person]:
            return await self._chat(person, request, title, await self._space(person, request))

    async def rename(self, row: RoomRow, title: str) -> RoomRow:
        await self._put_state(row.room_id, "m.room.name", "", {"name": title})
        return self._write(replace(row, title=title))

    async def archive(self, row: RoomRow) -> RoomRow:
        """Mark the chat as archived in its identity and take it out of the Space's list. The room stays."""
        identity = Identity(
            "chat", row.chat_id, row.owner, row.space_id, self.instance, row.request, title=row.title, archived=True
        )
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
        row = self.store.room(row.room_id) or row  # it may have been judged anew meanwhile
        return row if row.linked == linked else self._write(replace(row, linked=linked))

    async def _room(self, intent: Intent, title: str, space_id: RoomId | None) -> RoomRow:
        """Return the room of this intent: from our records, else from the server, else newly made.

        Looking comes first because an earlier attempt may have reached the server and its answer not us; then somebody
        else may have found the room meanwhile. Raises MatrixError when the server refuses the room.
        """
        if row := self.store.by_request(intent.request, intent.kind):
            return row
        if self.store.intent(intent.request, intent.kind):
            await asyncio.sleep(SETTLE_S)  # an attempt from before a crash may still be on its way
        self.store.add_intent(intent)
        attempt = 0
        while True:
            row = await self._find(intent) or self.store.by_request(intent.request, intent.kind)
            if row:
                return row
            try:
                body = self._create_body(intent, title, space_id)
                room_id = RoomId((await self.client.request("POST", "createRoom", body=body))["room_id"])
                break
            except MatrixError as why:
                if not why.passing:
                    raise
                attempt += 1
                wait_s = backoff_s(attempt, why.retry_after_ms)
                log.warning("waiting", what="createRoom", attempt=attempt, seen=str(why))
                await asyncio.sleep(wait_s if why.definite else max(wait_s, SETTLE_S))
        made = await self._adopt(room_id)
        assert made is not None, "a room that we just made carries the identity that we just gave it"
        return made

    async def _find(self, intent: Intent) -> RoomRow | None:
        """Look through joined rooms that we have no row for: is one of them the room this intent asked for?

        Raises MatrixError when one of them cannot be looked at: it might be that room.
        """
        joined = await until_answered("joined_rooms", lambda: self.client.request("GET", "joined_rooms"))
        known = self.store.rooms().keys() | self._foreign | self.direct.keys()
        for room_id in sorted(set(joined["joined_rooms"]) - known):
            try:
                row = await self._adopt(room_id)
            except MatrixError as why:
                if why.passing:
                    raise
                continue  # we are out of it again
            if row and (row.request, row.kind) == (intent.request, intent.kind):
                return row
        return None

    async def _adopt(self, room_id: RoomId) -> RoomRow | None:
        """Write the row of one room from its state on the server, as reconciliation would."""
        state = await until_blamed("room state", lambda: self.client.room_state(room_id), self.client.well)
        me = UserId(self.client.user_id)
        view = room_view(room_id, state, me, default="leave")
        alone = ServerView(me, {room_id: view}, frozenset({room_id, *self.client.rooms}), complete=False)
        interrupted = [i.request for i in self.store.intents()]
        self.store.write_rooms(plan(alone, self.store.rooms(), instance=self.instance, interrupted=interrupted).rows)
        row = self.store.room(room_id)
        self.client.know_room(room_id, encrypted=view.encrypted or bool(row and row.encrypted))
        if row is None and (view.identity is not None or view.created_by not in ("", me)):
            self._foreign.add(room_id)  # one of our own without an identity may still be in the making
        return row

    def _create_body(self, intent: Intent, title: str, space_id: RoomId | None) -> dict[str, Any]:
        identity = Identity(
            "space" if intent.kind == "space" else "chat",
            intent.chat_id, intent.owner, space_id, self.instance, intent.request, title=title,
        )  # fmt: skip
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
        await until_answered(type_, lambda: self.client.request("PUT", *path, body=content))

    async def _list(self, space_id: RoomId, room_id: RoomId, content: Mapping[str, Any]) -> bool:
        """Put a room into its Space's list, or with ``{}`` take it out. False, logged, when the homeserver will not: a
        Space that we may not change any more is no reason to fail the chat."""
        try:
            await self._put_state(space_id, "m.space.child", room_id, content)
        except MatrixError as why:
            log.warning("space_list_refused", space_id=space_id, room_id=room_id, seen=str(why))
            return False
        return True

    def _write(self, row: RoomRow) -> RoomRow:
        self.store.write_rooms([row])
        return row


def txn_id(event_id: str, part: str = "") -> str:
    """Return the transaction id of what answers an event: the same after every crash, so the server sends it once."""
    return "greenroom-" + hashlib.sha256(f"{event_id}\n{part}".encode()).hexdigest()[:32]
