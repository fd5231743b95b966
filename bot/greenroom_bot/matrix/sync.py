"""The live loop: sync, hand over, repeat; it waits while the homeserver is away, and ends when the token is dead.

nio's own `sync_forever` sends over a thousand requests a second on a dead token or a failing server, and loses the
batch of a failing callback for good.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import structlog
from nio import Api, Event, KeysQueryResponse, KeysUploadResponse, SyncResponse

from greenroom_bot.matrix.client import Client, ok
from greenroom_bot.matrix.errors import MatrixError, SessionOver
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.matrix.retry import Sleep, backoff_s, until_answered

log = structlog.get_logger()

LIVE_FILTER: dict[str, Any] = {
    "room": {"timeline": {"limit": 50}, "ephemeral": {"not_types": ["*"]}, "account_data": {"not_types": ["*"]}},
    "presence": {"not_types": ["*"]},
    "account_data": {"not_types": ["*"]},
}
POSITION_FILTER: dict[str, Any] = {"room": {"rooms": []}, "presence": {"not_types": ["*"]}}
WATCHDOG_EXTRA_S = 120.0
"""A sync that has neither answered nor failed this long after its own time limit is abandoned and started again."""
ANSWER_RELATION = "m.reference"
"""How an answer names the event that it answers: readable beside encrypted content too, and clients do not show it.

By it a bot whose database is older than the room (a restored copy) does not answer twice.
"""
SHORT_POLL_MS = 500
"""How long a sync waits after something has happened; then twice as long each time, up to the whole wait.

Conduit can miss what happens just while a sync begins to wait, and tells it when the wait ends.
"""
GAP_PAGE = 100
GAP_PAGES_MAX = 200


class LiveClient(Client):
    """The bot's client: fills gaps in timelines before a handler sees them, and syncs until cancelled.

    `was_handled` returns whether an event was handled before; a gap is filled back to such an event at the latest.
    `note_answered` is called with the id of each event that the bot's own account has answered, before the events of
    the same sync reach a handler.
    """

    def __init__(self, *args: Any, sleep: Sleep = asyncio.sleep, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sleep = sleep
        self._watchdog: asyncio.Timeout | None = None
        self._offered_keys: dict[str, Any] | None = None
        self._own_joins: set[str] = set()
        self.was_handled: Callable[[str], bool] = lambda event_id: False
        self.note_answered: Callable[[str], None] = lambda event_id: None

    async def sync_forever(self, timeout: int | None = 30_000, *args: Any, **kwargs: Any) -> NoReturn:
        """Sync until cancelled. `timeout` is the long poll's, in milliseconds.

        After each failure the loop waits, longer each time, with jitter. Raises SessionOver; no other answer of the
        homeserver ends the loop.
        """
        failures, away = 0, False
        poll_ms = 0  # the first answer comes at once: it holds what happened while the bot was away
        while True:
            since = str(self.next_batch)
            try:
                response = await self._sync_once(poll_ms, timeout or 0)
            except SessionOver:
                raise
            except Exception as error:
                self.next_batch = since
                failures += 1
                away = await self._after_failure(error, failures) or away
                continue
            if failures:
                log.info("homeserver_back" if away else "sync_back", after_attempts=failures)
            failures, away = 0, False
            poll_ms = min(timeout or 0, SHORT_POLL_MS if has_news(response) else max(2 * poll_ms, SHORT_POLL_MS))
            await self.run_response_callbacks([response])
            self._own_joins.update(event.event_id for event in self._own_joins_in(response))

    async def _sync_once(self, poll_ms: int, timeout_ms: int) -> SyncResponse:
        limit_s = timeout_ms / 1000 + WATCHDOG_EXTRA_S
        try:
            async with asyncio.timeout(limit_s) as self._watchdog:
                response = await ok(self.sync(poll_ms, sync_filter=LIVE_FILTER), SyncResponse)
        except TimeoutError as error:
            raise MatrixError("GET", "/sync", status=None, cause=f"the watchdog gave up after {limit_s:g} s") from error
        finally:
            self._watchdog = None
        await self._tend_keys()
        return response

    async def _after_failure(self, error: Exception, failures: int) -> bool:
        """Log the failure and wait; return whether the homeserver was unreachable."""
        if not isinstance(error, MatrixError):  # a mistake of the bot or of nio
            log.exception("sync_handling_failed", attempt=failures)
            await self._sleep(backoff_s(failures))
            return False
        if error.status == 400:
            await self._take_new_position(error)
        wait_s = backoff_s(failures, error.retry_after_ms)
        refused = error.definite and error.status is not None
        event = "sync_refused" if refused else "homeserver_unreachable"
        log.warning(event, attempt=failures, retry_in_s=round(wait_s, 2), seen=str(error))
        await self._sleep(wait_s)
        return not refused

    async def _take_new_position(self, error: MatrixError) -> None:
        """Continue from now: another or a restored database on the server does not know the bot's place in the stream.

        A snapshot finds the new place. A live sync without a token would hand old messages to the handlers.
        """
        log.warning(
            "position_refused", seen=str(error), lost="messages between the old position and now are not answered"
        )
        refused = self.next_batch

        async def snapshot() -> None:
            await self.sync(full_state=True, sync_filter=POSITION_FILTER)
            await self.take_keys()

        try:
            await until_answered("position", snapshot, sleep=self._sleep)
        except MatrixError:
            self.next_batch = refused  # the next sync is refused again, and this is retried
        finally:
            self.snapshot = None

    async def upload_keys(self) -> None:
        """Upload the device's keys if the homeserver lacks any. Raises MatrixError.

        Called before the bot is live, so that people can encrypt for a live bot.
        """
        if not self.should_upload_keys:
            return
        try:
            await self._offer_keys()
        except MatrixError as error:
            if error.status != 400:
                raise
            # The homeserver has other keys under these ids: an older copy of the store is in use. Newer ids are free.
            log.warning("key_ids_taken", seen=str(error))
            self.olm.mark_keys_as_published()
            self._offered_keys = None
            await self._offer_keys()

    async def _offer_keys(self) -> None:
        """Upload new keys, which are saved before the request.

        nio 0.26 saves them after the answer. A process that ended in between would then offer other keys under the same
        ids at each start, and the homeserver refuses those. A repeated request offers the same keys.
        """
        if self._offered_keys is None:
            offered = self.olm.share_keys()
            self.olm.save_account()
            self._offered_keys = offered
        upload = Api.keys_upload(self.access_token, self._offered_keys)
        await ok(self._send(KeysUploadResponse, *upload), KeysUploadResponse)
        self._offered_keys = None

    async def _tend_keys(self) -> None:
        """Send what encryption needs between syncs. After a failure the next sync retries."""
        try:
            await self.upload_keys()
            if self.should_query_keys:
                await ok(self.keys_query(), KeysQueryResponse)
            if self.should_claim_keys:
                await self.keys_claim(self.get_users_for_key_claiming())
            await self.send_to_device_messages()
        except SessionOver:
            raise
        except Exception as error:
            log.warning(
                "key_upkeep_failed", seen=str(error) if isinstance(error, MatrixError) else type(error).__name__
            )

    async def receive_response(self, response: Any) -> None:
        if isinstance(response, SyncResponse):
            if self._watchdog:
                self._watchdog.reschedule(None)  # the answer is here; filling its gaps has no time limit
            for room_id, info in response.rooms.join.items():
                await self._show_own_join(RoomId(room_id), info, response.next_batch)
                await self._complete_timeline(RoomId(room_id), info.timeline)
                for event_id in filter(None, map(self._answered_by, info.timeline.events)):
                    self.note_answered(event_id)
        await super().receive_response(response)
        if isinstance(response, SyncResponse) and self.olm:
            left = response.device_key_count.signed_curve25519
            if left is not None:  # nio 0.26 ignores 0, and then never replaces keys that ran out
                self.olm.uploaded_key_count = left

    # A stranger's broken encryption makes nio 0.26 raise out of the sync, and the same sync would then come for ever.

    def _handle_decrypt_to_device(self, to_device_event: Any) -> Any:
        """Save all that follows from a to-device message at once: it can be decrypted only once.

        nio 0.26 saves the one-time key, the session and the room key one by one. After a kill in between, the message
        comes again, cannot be decrypted, and the room key is lost.
        """
        with self.store.database.atomic():
            try:
                return super()._handle_decrypt_to_device(to_device_event)
            except Exception as error:
                log.warning(
                    "to_device_unreadable", sender=getattr(to_device_event, "sender", ""), seen=type(error).__name__
                )
                return None

    def _handle_timeline_event(self, event: Any, room_id: str, *args: Any) -> Any:
        try:
            return super()._handle_timeline_event(event, room_id, *args)
        except Exception as error:
            log.warning(
                "event_unreadable", room_id=room_id, sender=getattr(event, "sender", ""), seen=type(error).__name__
            )
            return None

    async def _show_own_join(self, room_id: RoomId, info: Any, now: str) -> None:
        """Let a timeline begin with the bot's own join, if a server tells that only in the room's state.

        Without it nobody knows which of the events came before the bot.
        """
        joins = [event.event_id for event in info.state if self._is_our_join(event.source)]
        if not joins:
            return
        told = [event.event_id for event in info.timeline.events]
        if joins[-1] in told:
            return
        events = await self._gap(room_id, now, "")
        if not events:
            return
        known = {event.event_id for event in events}
        latest = max((index for index, event_id in enumerate(told) if event_id in known), default=len(told))
        info.timeline.events[:] = events + info.timeline.events[latest + 1 :]
        info.timeline.limited = False

    async def _complete_timeline(self, room_id: RoomId, timeline: Any) -> None:
        """Prepend the events that a limited timeline left out, and drop messages from before the bot joined."""
        if timeline.limited and self.next_batch and timeline.prev_batch and not self._joined_in(timeline.events):
            timeline.events[:0] = await self._gap(room_id, timeline.prev_batch, self.next_batch)
        joined_at = self._joined_in(timeline.events)
        if joined_at:
            timeline.events[:joined_at] = [e for e in timeline.events[:joined_at] if "state_key" in e.source]

    async def _gap(self, room_id: RoomId, newest: str, oldest: str) -> list[Any]:
        """Fetch the events between two tokens, oldest first, but none before a handled event or the bot's own join.

        Not every homeserver heeds `to` (Conduit does not), so a known event is what ends it.
        """
        events: list[Any] = []
        query = {"from": newest, "dir": "b", "limit": str(GAP_PAGE), **({"to": oldest} if oldest else {})}
        for _ in range(GAP_PAGES_MAX):
            try:
                ask = partial(self.request, "GET", "rooms", room_id, "messages", query=dict(query))
                page = await until_answered("gap", ask, well=self.well, sleep=self._sleep)
            except MatrixError as error:
                log.error("gap_refused", room_id=room_id, seen=str(error), lost="messages in the gap are not answered")
                return events
            for source in page.get("chunk", []):
                if self.was_handled(source.get("event_id", "")):
                    return events
                events.insert(0, Event.parse_event(copy.deepcopy(source)))
                if self._is_our_join(source):
                    return events
            if not page.get("end") or page["end"] == query["from"] or not page.get("chunk"):
                return events
            query["from"] = page["end"]
        log.error(
            "gap_too_large", room_id=room_id, events=len(events), lost="messages older than these are not answered"
        )
        return events

    def _answered_by(self, event: Any) -> str:
        """Return the id of the event that an event of our account answers, an empty string if it answers none."""
        related = relation(event) if event.source.get("sender") == self.user_id else {}
        answered = related.get("event_id") if related.get("rel_type") == ANSWER_RELATION else None
        return answered if isinstance(answered, str) else ""

    def _joined_in(self, events: list[Any]) -> int | None:
        """Return the index of the bot's own latest join among the events."""
        return next((i for i in reversed(range(len(events))) if self._is_our_join(events[i].source)), None)

    def _own_joins_in(self, response: SyncResponse) -> Iterator[Event]:
        for info in response.rooms.join.values():
            yield from (event for event in (*info.state, *info.timeline.events) if self._is_our_join(event.source))

    def _is_our_join(self, source: dict[str, Any]) -> bool:
        """Return whether this is a join of the bot that is not known from an earlier sync: events may be told again."""
        if source.get("event_id") in self._own_joins:
            return False
        if source.get("type") != "m.room.member" or source.get("state_key") != self.user_id:
            return False
        before = (source.get("unsigned") or {}).get("prev_content") or {}
        return bool((source.get("content") or {}).get("membership") == "join" != before.get("membership"))


def has_news(response: SyncResponse) -> bool:
    """Return whether a sync told of something that more may follow. Left rooms may be told again each time."""
    return bool(response.rooms.join or response.rooms.invite or response.to_device_events)


def relation(event: Event) -> dict[str, Any]:
    """Return what an event says about its relation to another one, `{}` if nothing."""
    found = (event.source.get("content") or {}).get("m.relates_to")
    return found if isinstance(found, dict) else {}
