"""The bot: the order in which it starts, and what happens to an invite, a message, a change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from nio import (
    Event,
    InviteMemberEvent,
    MatrixRoom,
    MegolmEvent,
    RoomKeyEvent,
    RoomMemberEvent,
    RoomMessageText,
    SyncResponse,
)

from greenroom_bot.commands import Context, execute, greeting, is_command
from greenroom_bot.config import Config
from greenroom_bot.log import excerpt
from greenroom_bot.matrix.errors import BotError, MatrixError, SessionOver
from greenroom_bot.matrix.ids import EventId, RoomId, UserId
from greenroom_bot.matrix.retry import until_answered
from greenroom_bot.matrix.session import DEVICE_PREFIX, Login
from greenroom_bot.matrix.sync import LiveClient
from greenroom_bot.messenger import Messenger, Reply, is_edit
from greenroom_bot.queues import Progress, RoomQueues
from greenroom_bot.responder import Question, Responder, ResponderFailed, ask
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.identity import IDENTITY_TYPE
from greenroom_bot.rooms.reconcile import reconcile_matrix_state, reconcile_single_room, routed
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import SNAPSHOT_FILTER, RoomView, newest_events, room_view

log = structlog.get_logger()

SYNC_TIMEOUT_MS = 30_000
DRAIN_S = 4.0
TELLING = frozenset(
    {IDENTITY_TYPE, "m.room.name", "m.room.member", "m.room.power_levels", "m.room.tombstone", "m.room.encryption"}
)
"""State events that make the live bot judge their room again."""
REBUILT = ("recovered", "tombstoned", "orphaned_no_owner", "power_lost")
"""Outcomes that make a new row. On a start without a position they mean that the records were lost, unless the bot has
never run before: somebody made its rooms for it."""
UNRESOLVED_TEXT = (
    "I do not know this room: my local state for it could not be restored automatically. "
    "A restart of the bot or a dev reset may be needed."
)


class MatrixBot:
    """Connects a homeserver, the local records and a responder: `start`, then `run` until its task is cancelled.

    A start has seven steps: 1 build client and bot, 2 authenticate, 3 register callbacks, 4 take a snapshot without a
    token, 5 reconcile once, 6 report, 7 put the saved position back and go live.
    """

    def __init__(
        self, client: LiveClient, store: SQLiteStore, chat_mgr: ChatManager, responder: Responder, config: Config
    ) -> None:
        self.client, self.store, self.chats, self.responder, self.config = client, store, chat_mgr, responder, config
        self.messenger = Messenger(client, store)
        self.progress = Progress(store)
        self.queues = RoomQueues(self.progress)
        self.report: dict[str, Any] = {}
        self.login: Login | None = None
        self._live = False
        self._started = time.monotonic()
        self._in_hand: set[str] = set()
        self._unserved: list[RoomId] = []
        self._looked_at: set[str] = set()
        self._recoveries: dict[RoomId, asyncio.Task[dict[str, Any]]] = {}

    # Starting

    def register_callbacks(self) -> None:
        """Step 3. Events that arrive before the bot is live are dropped."""
        self.client.was_handled = self.store.was_handled
        self.client.note_answered = self.store.mark_handled
        self.client.add_event_callback(self._on_member, RoomMemberEvent)
        self.client.add_event_callback(self._on_message, (RoomMessageText, MegolmEvent))
        self.client.add_to_device_callback(self._on_key, RoomKeyEvent)
        self.client.add_response_callback(self._on_sync, SyncResponse)

    async def start(self) -> dict[str, Any]:
        """Steps 4 to 6: snapshot, reconcile once, report. Meanwhile the client cannot write."""
        position = self.store.position
        self.client.read_only = True
        try:
            snapshot = partial(self.client.sync, timeout=0, full_state=True, sync_filter=SNAPSHOT_FILTER)
            await until_answered("snapshot", snapshot)
            await self.client.take_keys()
            await until_answered("changes", partial(self.client.catch_up, SNAPSHOT_FILTER))
            now, newest = self.client.next_batch, newest_events(self.client.snapshot or {})
            known = self.store.rooms().keys()
            self.report = await reconcile_matrix_state(self.client, self.store, self.chats)
            if position is None:
                await self.client.take_keys()
                for event_id in newest:  # a gap is filled back to one of these, and what is told again is not answered
                    self.store.mark_handled(event_id)
            else:  # the bot was stopped between joining and welcoming
                self._unserved = [room_id for room_id in self.chats.direct if self._is_new(room_id, known)]
        finally:
            self.client.read_only = False
            self.client.snapshot = None
        rebuilt = position is None and any(self.report["outcomes"][name] for name in REBUILT)
        self.report["position_lost"] = rebuilt and (self.store.replaces_lost or await self._ran_on_another_device())
        for room in self.report["rooms"]:
            log.info("room_drifted", **room, **self._named(RoomId(room["room_id"])))
        log.info("matrix_reconcile_complete", **{key: value for key, value in self.report.items() if key != "rooms"})
        if self.report["position_lost"]:
            log.warning("position_lost", lost="messages sent before this start are not answered")
        if position is None:  # saved at once: from here on no message may be lost
            self.store.save_position(now, upto_batch=0)
        self.client.next_batch = position or now
        return self.report

    async def _ran_on_another_device(self) -> bool:
        """Return whether the account has another device of the bot, or cannot be asked: then records were lost."""
        try:
            answer = await self.client.insist("devices", "GET", "devices", attempts=3)
            others = {device["device_id"] for device in answer["devices"]} - {self.client.device_id}
            return any(other.startswith(DEVICE_PREFIX) and "_" not in other for other in others)
        except (MatrixError, KeyError, TypeError, AttributeError) as error:
            log.warning("devices_unknown", seen=str(error))
            return True

    async def run(self) -> None:
        """Step 7: go live until this task is cancelled; then finish the work in hand.

        Raises SessionOver when the token dies, BotError when the local records can no longer be written.
        """
        syncing = asyncio.create_task(self.client.sync_forever(timeout=SYNC_TIMEOUT_MS))
        self.queues.on_broken = syncing.cancel
        self._live = True
        for invite in self.chats.invites:
            self._invited(invite)
        log.info("matrix_live", user_id=self.client.user_id, device_id=self.client.device_id)
        try:
            await syncing
        finally:
            self._live = False
            if self.config.health_file:
                self.config.health_file.unlink(missing_ok=True)
            undone = await self.queues.drain(DRAIN_S)
            log.info("matrix_stopped", undone=undone)
            if isinstance(self.queues.broken, SessionOver):
                raise self.queues.broken
            if self.queues.broken:
                raise BotError(f"the bot's records cannot be written: {self.queues.broken}") from self.queues.broken

    # Callbacks only queue, so that no handler can delay or break the sync

    async def _on_member(self, room: MatrixRoom, event: RoomMemberEvent) -> None:
        came = event.membership == "join" and event.prev_membership != "join"
        person = self.chats.direct.get(RoomId(room.room_id))
        if event.state_key == self.client.user_id and came and person:
            self._once(room.room_id, event.event_id, partial(self._provision, room.room_id, person, event.event_id))

    async def _on_message(self, room: MatrixRoom, event: RoomMessageText | MegolmEvent) -> None:
        if event.sender != self.client.user_id:
            if isinstance(event, MegolmEvent):
                self.messenger.await_key(event)
            self._once(room.room_id, event.event_id, partial(self.on_room_message, room, event))

    async def _on_key(self, event: RoomKeyEvent) -> None:
        self.messenger.key_arrived(event.session_id)

    async def _on_sync(self, response: SyncResponse) -> None:
        """Queue work for invites, left rooms and changed state. Then the batch is complete."""
        me = UserId(self.client.user_id)
        while self._unserved:  # after the first sync, which shows what was answered before
            room_id = self._unserved.pop()
            self._submit(room_id, f"serve {room_id}", partial(self._serve, room_id, self.chats.direct[room_id]))
        for room_id, invite in response.rooms.invite.items():
            members = [e for e in invite.invite_state if isinstance(e, InviteMemberEvent)]
            events = [{**e.source, "content": e.content} for e in members]  # nio takes the content out
            self._invited(room_view(room_id, events, me, default="invite"))
        for room_id, info in response.rooms.leave.items():
            events = [e.source for e in (*info.state, *info.timeline.events)]
            self._submit(room_id, f"left {room_id} {response.next_batch}", partial(self._left, room_id, events))
        for room_id, info in response.rooms.join.items():
            state = [e.source for e in (*info.state, *info.timeline.events) if "state_key" in e.source]
            telling = {str(event.get("event_id")) for event in state if event.get("type") in TELLING}
            changed = telling - self._looked_at  # servers may repeat a membership beside each message
            self._looked_at |= changed
            if changed and (self.store.room(room_id) or self.store.was_told(room_id, "unresolved")):
                self._submit(room_id, f"changed {room_id} {response.next_batch}", partial(self._changed, room_id))
        self.progress.close_batch(response.next_batch)
        if self.config.health_file:
            self.config.health_file.touch()

    def _invited(self, room: RoomView) -> None:
        key = f"invite {room.room_id} {self.progress.current.number}"
        answer = partial(self._answer_invite, room.room_id, UserId(room.invited_by), room.invited_direct)
        self._submit(room.room_id, key, answer)

    def _once(self, room_id: RoomId, event_id: str, job: Callable[[], Awaitable[None]]) -> None:
        """Queue the handling of an event."""
        self._submit(room_id, event_id, partial(self._handle, event_id, job))

    async def _handle(self, event_id: str, job: Callable[[], Awaitable[None]]) -> None:
        """Do a job for an event, unless that was done before, and remember it: an event may be queued twice."""
        if not self.store.was_handled(event_id):
            await job()
            self.store.mark_handled(event_id)

    def _submit(self, room_id: RoomId, key: str, job: Callable[[], Awaitable[None]]) -> None:
        """Queue a job if the bot is live and the same job is not in hand (a failed sync comes again)."""
        if not self._live or key in self._in_hand:
            return
        self._in_hand.add(key)

        async def tracked() -> None:
            try:
                await job()
            finally:
                self._in_hand.discard(key)

        self.queues.submit(room_id, tracked)

    def _is_new(self, room_id: RoomId, known: AbstractSet[RoomId]) -> bool:
        row = self.store.room(room_id)
        return row is not None and row.kind == "direct" and row.status != "left" and room_id not in known

    # Jobs, one at a time per room

    async def _answer_invite(self, room_id: RoomId, person: UserId, direct: bool) -> None:
        if await self.chats.is_in(room_id):
            if room_id in self.chats.direct:
                await self._serve(room_id, person)
            return
        row = self.store.room(room_id)
        if not self.config.allows(person) or not (direct or row):
            why = "not_direct" if self.config.allows(person) else "not_allowed"
            log.warning("invite_declined", room_id=room_id, user_id=person, why=why)
            await self.chats.decline(room_id)
            return
        try:
            own = row is not None and row.kind != "direct"
            if own:
                await self.chats.join(room_id)  # a room of the bot again; the next sync brings the rest
            else:
                await self.chats.accept_direct(room_id, person)
            log.info("invite_accepted", room_id=room_id, user_id=person)
            if not own:
                await self._serve(room_id, person)
        except MatrixError as why_not:
            log.warning("invite_failed", room_id=room_id, user_id=person, seen=str(why_not))

    async def _serve(self, room_id: RoomId, person: UserId) -> None:
        """Welcome a person in a direct room that the bot has joined, once for each join, whatever a sync shows."""
        for event in await self.client.sure_room_state(room_id):
            mine = (event.get("type"), event.get("state_key")) == ("m.room.member", self.client.user_id)
            if mine and (event.get("content") or {}).get("membership") == "join":
                join = str(event.get("event_id", ""))
                await self._handle(join, partial(self._provision, room_id, person, join))

    async def _provision(self, room_id: RoomId, person: UserId, request: str) -> None:
        """After the bot has joined a direct room: make the person's Space and first chat, and say so."""
        await self._changed(room_id)

        async def welcome() -> str:
            row = self.store.room(RoomId(room_id))
            return greeting(await self.chats.provision(person, request, encrypted=bool(row and row.encrypted)))

        await self.messenger.say(room_id, await self._attempt(room_id, request, welcome()), request)

    async def _left(self, room_id: RoomId, events: list[dict[str, Any]]) -> None:
        self.client.rooms.pop(room_id, None)  # nio keeps left rooms
        row = self.store.room(room_id)
        if row is None or row.status == "left":  # servers may tell it in every sync
            return
        why = room_view(room_id, events, UserId(self.client.user_id), default="leave").left_because
        self.store.write_rooms([replace(row, status="left", detail=why)])
        log.warning("room_left", room_id=room_id, chat_id=row.chat_id, why=why)

    async def _changed(self, room_id: RoomId) -> None:
        report = await reconcile_single_room(self.client, self.store, self.chats, room_id, UserId(self.client.user_id))
        if "fetch_failed" in report["reasons"]:
            self.store.forget_told(room_id)  # the next message looks again
        log.debug("room_reconciled", room_id=room_id, result=report["result"])

    async def on_room_message(self, room: MatrixRoom, event: Event) -> None:
        """Handle one message to its end: find its room's row, decide what to say, say it.

        A failure is logged and concerns no other message. Raises only SessionOver: then the message is not handled,
        and the next start answers it.
        """
        room_id, sender, started = RoomId(room.room_id), UserId(event.sender), time.monotonic()
        try:
            if sender == self.client.user_id or is_edit(event):
                return
            found = await self._resolve(room_id, sender)
            reply = await self._reply(found, event) if isinstance(found, RoomRow) else found
            answer = await self.messenger.say(room_id, reply, event.event_id) if reply else ""
            took_ms = round((time.monotonic() - started) * 1000)
            about = {"room_id": room_id, "event_id": event.event_id, "sender": sender, "duration_ms": took_ms}
            log.info("message_handled", **about, **self._texts(room, event, answer))
        except SessionOver:
            raise
        except Exception:
            log.exception("message_failed", room_id=room_id, event_id=event.event_id, sender=sender)

    def _texts(self, room: MatrixRoom, event: Event, answer: str) -> dict[str, str]:
        """Return what was said, for the log line of a message; nothing unless the settings ask for it."""
        if not self.config.log_messages:
            return {}
        texts = {"body": excerpt(self.messenger.text(event)), "answer": excerpt(answer)}
        return {**self._named(RoomId(room.room_id)), **texts}

    def _named(self, room_id: RoomId) -> dict[str, str]:
        """Return a room's name for a log line, from its row; nothing unless the settings ask for it."""
        row = self.store.room(room_id) if self.config.log_messages else None
        if row is None:
            return {}
        return {"room": excerpt(row.title) or ("direct chat" if row.kind == "direct" else row.chat_id)}

    async def _resolve(self, room_id: RoomId, sender: UserId) -> RoomRow | Reply | None:
        """Return the row of a room, after one attempt to recover an unknown one; else what to say, if anything."""
        if row := self._known(room_id):
            return row
        if self.store.was_told(room_id, "unresolved"):
            return None
        report = await self._recover(room_id, sender)
        if row := self._known(room_id):
            return row
        if "other_instance" in report["reasons"]:
            return None  # another deployment of this account answers there
        log.warning("room_unresolved", room_id=room_id, user_id=sender, report=report)
        return Reply(UNRESOLVED_TEXT, once="unresolved")

    def _known(self, room_id: RoomId) -> RoomRow | None:
        row = self.store.room(room_id)
        return row if row and (row.kind == "direct" or routed(row)) else None

    async def _recover(self, room_id: RoomId, sender: UserId) -> dict[str, Any]:
        """Reconcile the room exactly once, however many events ask for it at the same time."""
        attempt = self._recoveries.get(room_id)
        if attempt is None:
            recovering = reconcile_single_room(self.client, self.store, self.chats, room_id, sender)
            attempt = self._recoveries[room_id] = asyncio.ensure_future(recovering)
            attempt.add_done_callback(lambda _: self._recoveries.pop(room_id, None))
        return await asyncio.shield(attempt)

    async def _reply(self, row: RoomRow, event: Event) -> Reply | None:
        """Obey and answer the owner; tell others once that only the owner is obeyed, and nothing else."""
        if event.sender != row.owner:
            return Reply("Only this room's owner can give me commands.", once=f"stranger {event.sender}")
        if not self.config.allows(row.owner):
            return Reply("You may not use me any more.", once="not allowed")
        body = await self.messenger.read(row.room_id, event)
        if isinstance(body, Reply) or not body:
            return body or None
        if is_command(body):
            return await self._obey(row, body, event)
        if row.kind != "chat":
            return Reply("Write to me in one of your chats; !chats lists them, !help the rest.")
        if row.archived:
            hint = "is archived. !restore opens it again, !new starts another chat."
            return Reply(f"{row.chat_id} {hint}", once="archived")
        return await self._answer(row, body, event)

    async def _obey(self, row: RoomRow, body: str, event: Event) -> Reply:
        chat = row if row.kind == "chat" else None
        encrypted = row.encrypted or event.decrypted or isinstance(event, MegolmEvent)

        def context(args: str) -> Context:
            return Context(self.chats, row.owner, chat, EventId(event.event_id), args, self.status_lines, encrypted)

        return await self._attempt(row.room_id, event.event_id, execute(body, context))

    async def _attempt(self, room_id: RoomId, event_id: str, doing: Awaitable[str]) -> Reply:
        """Do what a person asked for, and return what to tell them, also about a failure. Raises only SessionOver."""
        try:
            return Reply(await doing)
        except SessionOver:
            raise
        except MatrixError as error:
            log.warning("refused_by_homeserver", room_id=room_id, event_id=event_id, seen=str(error))
            return Reply(f"The homeserver refused that: {error.error or error.errcode}")
        except Exception:
            log.exception("command_failed", room_id=room_id, event_id=event_id)
            return Reply("Sorry, that failed. It is in my log.")

    async def _answer(self, row: RoomRow, body: str, event: Event) -> Reply | None:
        question = Question(row.chat_id, row.owner, UserId(event.sender), EventId(event.event_id), body)
        try:
            answer = await ask(self.responder, question)
        except ResponderFailed as failed:
            where = {"room_id": row.room_id, "chat_id": row.chat_id, "event_id": event.event_id}
            log.exception("responder_failed", **where, seen=str(failed))
            return Reply("Sorry, answering this failed. It is in my log.")
        return Reply(answer, notice=False) if answer else None

    def status_lines(self) -> list[str]:
        """Return the bot's state in words. Any owner may read it: nothing in it is about other people."""
        up_s = time.monotonic() - self._started
        lines = [f"I am {self.client.user_id}, device {self.client.device_id}, up for {up_s:.0f} s."]
        if self.report.get("position_lost"):
            lines.append("My database was lost: messages from before this start are not answered.")
        if self.login and self.login.keys_lost:
            lines.append("My encryption keys were lost; older encrypted messages stay unreadable to me.")
        return lines
