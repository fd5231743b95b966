"""A test person: an account with a Matrix client, on matrix-nio directly.

A person does not use the bot's own client: tests would not notice a bug in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import nio

from greenroom.errors import MatrixRefused, NotMet
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.accounts import Account
from greenroom.people.answers import Kind, answers
from greenroom.people.asking import Way, ask_content, checked_way
from greenroom.people.client import Client
from greenroom.people.devices import Device, devices_of
from greenroom.people.identity import Identity
from greenroom.people.joining import join_room
from greenroom.people.matrix_api import MatrixApi, SpaceTree, path, read_space_tree
from greenroom.people.seen import Raw, Seen, SeenCheck
from greenroom.waiting import DEFAULT_TIMEOUT_S, Alive, NotYet, scaled, until

logging.getLogger("nio").addHandler(logging.NullHandler())  # without one, Python prints its warnings to stderr

R = TypeVar("R", bound=nio.Response)
T = TypeVar("T")
SHORT_S, LONG_S = 0.25, 1.0
"""How long a poll without events lasts: short after activity, since some homeservers miss what happens while a poll
begins, and tell it only at its end. Events end a poll early."""
WATCH_EVERY_S = 0.1
ROOM_S = 5.0  # a homeserver may tell of our own join late
SYNC_FILTER = {"room": {"timeline": {"limit": 100}}, "presence": {"not_types": ["*"]}}


def expect(response: object, wanted: type[R]) -> R:
    """Return the response if it is a success, else raise MatrixRefused.

    The class alone is not enough: for some failures nio 0.26 returns the success class (a 502 with an HTML body on
    leave and forget, a 403 on a state read). So this function checks the HTTP status too.
    """
    transport = getattr(response, "transport_response", None)
    status = getattr(transport, "status", 0)
    if isinstance(response, wanted) and (transport is None or 200 <= status < 300):
        return response
    body = {"errcode": getattr(response, "status_code", ""), "error": getattr(response, "message", str(response))}
    raise MatrixRefused(wanted.__name__.removesuffix("Response"), status, body)


def reply_content(event_id: str, body: str) -> dict[str, Any]:
    """Return the content of a text message that replies to an event."""
    return {"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": event_id}}}


def edit_content(event_id: str, body: str) -> dict[str, Any]:
    """Return the content of an edit. Its own body is the fallback for old clients."""
    new = {"msgtype": "m.text", "body": body}
    relation = {"rel_type": "m.replace", "event_id": event_id}
    return {"msgtype": "m.text", "body": f"* {body}", "m.new_content": new, "m.relates_to": relation}


def reaction_content(event_id: str, key: str) -> dict[str, Any]:
    """Return the content of a reaction with the emoji `key`."""
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": key}}


class Acts:
    """What an account does, with `client` as its session."""

    server: RunningHomeserver
    client: Client
    _creating: asyncio.Lock

    @property
    def user_id(self) -> str:
        """The account's Matrix id."""
        return str(self.client.user_id)

    # -- rooms

    async def create_direct(self, other: str, *, name: str | None = None, encrypted: bool = False) -> str:
        """Create a direct chat as Element does: invite, `is_direct`, an entry in `m.direct`. Return the room id."""
        room_id = await self.create_room(
            name=name,
            invite=[other],
            is_direct=True,
            preset=nio.RoomPreset.trusted_private_chat,
            encrypted=encrypted,
        )
        async with MatrixApi(self.server.url) as api:
            await api.add_direct(self.user_id, other, room_id, self.client.access_token)
        return room_id

    async def create_room(self, *, encrypted: bool = False, **arguments: Any) -> str:
        """Create a room, with the arguments of nio's `room_create`, and perhaps `encrypted`. Return the room id.

        One account makes rooms one after the other: two alike ones of one millisecond can become one room. The id of a
        room of version 12 is a hash of its first event.
        """
        if encrypted:
            state = [*arguments.get("initial_state", ()), nio.EnableEncryptionBuilder().as_dict()]
            arguments["initial_state"] = state
        async with self._creating:
            return str(expect(await self.client.room_create(**arguments), nio.RoomCreateResponse).room_id)

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite a user to a room."""
        expect(await self.client.room_invite(room_id, user_id), nio.RoomInviteResponse)

    async def join(self, room_id: str) -> None:
        """Join a room."""
        expect(await join_room(self.client, room_id), nio.JoinResponse)

    async def leave(self, room_id: str) -> None:
        """Leave a room, or decline an invite."""
        expect(await self.client.room_leave(room_id), nio.RoomLeaveResponse)

    async def forget(self, room_id: str) -> None:
        """Forget a room that this account has left."""
        expect(await self.client.room_forget(room_id), nio.RoomForgetResponse)

    async def kick(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        """Remove a user from a room."""
        expect(await self.client.room_kick(room_id, user_id, reason), nio.RoomKickResponse)

    async def ban(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        """Ban a user from a room."""
        expect(await self.client.room_ban(room_id, user_id, reason), nio.RoomBanResponse)

    async def unban(self, room_id: str, user_id: str) -> None:
        """Lift a user's ban."""
        expect(await self.client.room_unban(room_id, user_id), nio.RoomUnbanResponse)

    async def upgrade(self, room_id: str, version: str = "12") -> str:
        """Upgrade a room. Return the id of the new room; the homeserver invites nobody to it."""
        where = path("rooms", room_id, "upgrade")
        async with MatrixApi(self.server.url) as api:
            answer = await api.call("POST", where, token=self.client.access_token, json={"new_version": version})
        return str(answer["replacement_room"])

    async def space_tree(self, room_id: str) -> SpaceTree:
        """Return a Space with everything below it."""
        async with MatrixApi(self.server.url) as api:
            return await read_space_tree(api, room_id, self.client.access_token)

    async def rename(self, room_id: str, name: str) -> None:
        """Set a room's name."""
        await self.set_state(room_id, "m.room.name", {"name": name})

    async def encrypt(self, room_id: str) -> None:
        """Switch a room to encryption. Nobody can switch it back."""
        await self.set_state(room_id, "m.room.encryption", nio.EnableEncryptionBuilder().as_dict()["content"])

    async def devices(self, user_id: str) -> list[Device]:
        """Ask the server for a user's devices that have published keys."""
        async with MatrixApi(self.server.url) as api:
            return await devices_of(api, self.client.access_token, user_id)

    async def joined_rooms(self) -> set[str]:
        """Ask the server which rooms this account has joined."""
        return set(expect(await self.client.joined_rooms(), nio.JoinedRoomsResponse).rooms)

    async def members(self, room_id: str) -> set[str]:
        """Ask the server who has joined a room."""
        answer = expect(await self.client.joined_members(room_id), nio.JoinedMembersResponse)
        return {member.user_id for member in answer.members}

    # -- state and messages

    async def set_state(self, room_id: str, kind: str, content: Mapping[str, Any], state_key: str = "") -> str:
        """Write a state event. Return its event id."""
        answer = await self.client.room_put_state(room_id, kind, dict(content), state_key)
        return str(expect(answer, nio.RoomPutStateResponse).event_id)

    async def state(self, room_id: str, kind: str, state_key: str = "") -> Raw | None:
        """Ask the server for a state event's content. Return None if there is no such event."""
        try:
            got = await self.client.room_get_state_event(room_id, kind, state_key)
            answer = expect(got, nio.RoomGetStateEventResponse)
        except MatrixRefused as error:
            if error.status == 404:
                return None
            raise
        return dict(answer.content)

    async def full_state(self, room_id: str) -> list[Raw]:
        """Ask the server for all state events of a room."""
        return list(expect(await self.client.room_get_state(room_id), nio.RoomGetStateResponse).events)

    async def send_text(self, room_id: str, body: str, *, msgtype: str = "m.text") -> str:
        """Send a message, encrypted if the room is and this person has a store. Return the event id."""
        return await self.send(room_id, "m.room.message", {"msgtype": msgtype, "body": body})

    async def send(self, room_id: str, kind: str, content: Mapping[str, Any]) -> str:
        """Send any event. Return its event id."""
        answer = await self.client.room_send(room_id, kind, dict(content), ignore_unverified_devices=True)
        return str(expect(answer, nio.RoomSendResponse).event_id)

    async def reply(self, room_id: str, event_id: str, body: str) -> str:
        """Reply to a message. Return the event id."""
        return await self.send(room_id, "m.room.message", reply_content(event_id, body))

    async def edit(self, room_id: str, event_id: str, body: str) -> str:
        """Edit one of this account's messages. Return the event id of the edit."""
        return await self.send(room_id, "m.room.message", edit_content(event_id, body))

    async def react(self, room_id: str, event_id: str, key: str) -> str:
        """React to an event with an emoji. Return the event id."""
        return await self.send(room_id, "m.reaction", reaction_content(event_id, key))

    async def redact(self, room_id: str, event_id: str, reason: str | None = None) -> str:
        """Redact an event. Return the event id of the redaction."""
        return str(expect(await self.client.room_redact(room_id, event_id, reason), nio.RoomRedactResponse).event_id)

    async def messages(self, room_id: str, limit: int = 100) -> list[Raw]:
        """Ask the server for the latest messages of a room, oldest first, as raw events.

        The server's filter is not used: Conduit heeds none. Raises MatrixRefused.
        """
        found: dict[str, Raw] = {}
        position = None
        while len(found) < limit:
            page, position = await self.client.page(room_id, position)
            found.update({event["event_id"]: event for event in page if event["type"] == "m.room.message"})
            if not page or position is None:
                break
        return [*found.values()][:limit][::-1]


class Person(Acts):
    """An account logged in on one device, with a sync position that only moves forward.

    Nothing syncs in the background: only `until` and `sync` change what a person has seen. A person belongs to one
    event loop.
    """

    def __init__(
        self, server: RunningHomeserver, account: Account, store: Path | None = None, identity: Identity | None = None
    ) -> None:
        """Prepare a person; `person_on` logs it in. With a folder `store` the person can read encrypted rooms.

        Without the `identity` that has signed other devices of the account, the person makes one.
        """
        if store is not None:
            store.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.account = account
        self.seen = Seen(account.user_id)
        self.since: str | None = None
        self._creating = asyncio.Lock()
        self.identity = identity or Identity(account)
        config = nio.AsyncClientConfig(
            encryption_enabled=store is not None,
            store_sync_tokens=False,  # `since` holds the position
            max_limit_exceeded=20,
            request_timeout=60,
        )
        self.client = Client(server.url, account.user_id, store, config)

    @property
    def user_id(self) -> str:
        """The person's Matrix id."""
        return self.account.user_id

    def __repr__(self) -> str:
        return f"<Person {self.user_id}>"

    async def log_in(self) -> None:
        """Use the session from the registration, or log in with the password."""
        if self.account.access_token:
            self.client.restore_login(self.user_id, self.account.device_id, self.account.access_token)
        else:
            expect(await self.client.login(self.account.password, device_name="Greenroom person"), nio.LoginResponse)
        if self.client.should_upload_keys:
            expect(await self.client.keys_upload(), nio.KeysUploadResponse)
            async with MatrixApi(self.server.url) as api:
                await self.identity.sign_device(api, self.client.access_token, self.client.device_id)

    async def close(self) -> None:
        """Close the connections and the key store. The account and its rooms stay."""
        await self.client.close()
        if self.client.store is not None:
            self.client.store.database.close()

    # -- seeing

    async def sync(self, timeout_ms: int = 0) -> None:
        """Sync once from the kept position. Without one, sync once more: a whole picture may come from a cache."""
        first = self.since is None
        await self._sync(timeout_ms)
        if first:
            await self._sync(0)

    async def _sync(self, timeout_ms: int) -> None:
        self.client.next_batch = self.since or ""
        response = expect(
            await self.client.sync(timeout_ms, sync_filter=SYNC_FILTER, since=self.since), nio.SyncResponse
        )
        self.since = response.next_batch
        self.seen.take(response)
        if self.client.olm:
            await self._keep_keys()
            if response.to_device_events:
                self.seen.unseal(self.client.decrypt_event)

    async def encrypt(self, room_id: str) -> None:
        """Switch a room to encryption, and sync: what this person sends from now on is encrypted."""
        await super().encrypt(room_id)
        await self.until(SeenCheck(f"{room_id} to be encrypted", lambda seen: seen.is_encrypted(room_id) or NotYet("")))

    async def send(self, room_id: str, kind: str, content: Mapping[str, Any]) -> str:
        """Send any event. Return its event id."""
        if self.client.olm and room_id not in self.client.rooms:  # nio encrypts only for rooms that a sync has brought
            with suppress(NotMet):
                await self.until(self._has_room(room_id), timeout_s=ROOM_S)
        return await super().send(room_id, kind, content)

    def _has_room(self, room_id: str) -> SeenCheck[bool]:
        def test(seen: Seen) -> bool | NotYet:
            return room_id in self.client.rooms or NotYet("no sync has brought it")

        return SeenCheck(f"the room {room_id}", test)

    async def _keep_keys(self) -> None:
        await self.client.send_to_device_messages()
        if self.client.should_upload_keys:
            await self.client.keys_upload()
        if self.client.should_query_keys:
            await self.client.keys_query()
        if self.client.should_claim_keys:
            await self.client.keys_claim(self.client.get_users_for_key_claiming())

    async def until(
        self,
        check: SeenCheck[T] | Callable[[Seen], T | NotYet],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        watch: Iterable[Alive] = (),
    ) -> T:
        """Sync until `check` of what was seen holds. Return what the check returns. Raises NotMet.

        What the person saw before the call counts too. To leave that out, keep an event id and use `after=`. The wait
        ends at once with an error if the homeserver, or anything in `watch`, is gone.
        """
        __tracebackhide__ = True
        watched = (self.server, *watch)
        ends = time.monotonic() + scaled(timeout_s)
        what = check.what if isinstance(check, SeenCheck) else (check.__doc__ or check.__name__)
        poll_s = SHORT_S

        async def look() -> T | NotYet:
            __tracebackhide__ = True
            nonlocal poll_s
            outcome = check(self.seen)
            if not isinstance(outcome, NotYet):
                return outcome
            before = len(self.seen.timeline)
            if not await self._sync_while_alive(watched, min(poll_s, max(0.0, ends - time.monotonic()))):
                return NotYet("the homeserver does not answer /sync")
            poll_s = SHORT_S if len(self.seen.timeline) > before else min(2 * poll_s, LONG_S)
            return check(self.seen)

        wanted = f"{self.account.localpart} to see {what}"
        return await until(look, wanted, timeout_s=timeout_s, every_s=0, watch=watched)

    async def _sync_while_alive(self, watched: Sequence[Alive], limit_s: float) -> bool:
        __tracebackhide__ = True
        # nio retries a lost connection without end, so the sync runs as a task that this function can cancel.
        task = asyncio.ensure_future(self.sync(int(limit_s * 1000)))
        deadline = time.monotonic() + limit_s + scaled(5.0)  # a busy server may answer a long poll late
        try:
            while not task.done() and time.monotonic() <= deadline:
                for alive in watched:
                    alive.check_alive()
                await asyncio.wait({task}, timeout=WATCH_EVERY_S)
            if task.done():
                await task
            return task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    async def ask(
        self, room_id: str, text: str, *, way: str = Way.PLAIN, bot: str | None = None, to: str | None = None
    ) -> str:
        """Ask the bot with the user id `bot` something, in a way of `asking.Way`. Return the event id of the question.

        `to` is the event to reply to, or the one that begins the thread. Without it, the latest message of the bot in
        that room counts, and the thread that this is in. Raises Misuse if this person has seen none.
        """
        chosen = checked_way(way)
        if chosen is Way.PLAIN:
            return await self.send_text(room_id, text)
        name = (self.seen.state_content(room_id, "m.room.member", bot) or {}).get("displayname") if bot else None
        if to is None and chosen is not Way.MENTION:
            to = self._latest_of(bot, room_id, as_root=chosen is Way.THREAD)
        return await self.send(room_id, "m.room.message", ask_content(text, chosen, bot or "", name, to))

    def _latest_of(self, bot: str | None, room_id: str, *, as_root: bool) -> str | None:
        said = answers(self.seen.timeline, sender=bot or "", room=room_id)
        latest = next((answer for answer in reversed(said) if answer.kind is not Kind.REACTION), None)
        if latest is None:
            return None
        return (as_root and latest.thread) or latest.event_id

    async def join_invites(self) -> list[str]:
        """Sync once and accept every open invite. Return the room ids."""
        await self.sync()
        pending = sorted(self.seen.invited)
        for room_id in pending:
            await self.join(room_id)
        return pending


@asynccontextmanager
async def person_on(
    server: RunningHomeserver, account: Account, *, store: Path | None = None, identity: Identity | None = None
) -> AsyncIterator[Person]:
    """Log a person in for the duration of an `async with`."""
    person = Person(server, account, store, identity)
    try:
        await person.log_in()
        yield person
    finally:
        await person.close()
