"""Manners of `/sync`."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote

from greenroom.faults.exchange import Answer, Ask, Call, Outcome, Sent
from greenroom.faults.manners.manner import (
    SyncManner,
    decoded,
    follow_up,
    has_news,
    with_body,
    with_query,
)

BEGINS_S = 0.05
"""For so long a sync begins to wait. What happens meanwhile it tells only at its end."""
TIMELINE_EVENTS = 10
NOWHERE = "0"
"""The position before everything. Conduit takes it for no position, Synapse refuses it."""
Body = dict[str, Any]
_SYNC = "#get_matrixclientv3sync"


class PictureFromACache(SyncManner):
    name = "picture-from-a-cache"
    does = "answers a device's second sync without `since` as it answered the first, for ever; `since=0` likewise"
    section = _SYNC
    helps = "after a sync without `since`, sync once more from its `next_batch`, and read what has changed"

    def __init__(self) -> None:
        self._first: dict[tuple[str | None, str, str | None], Answer] = {}

    async def sync(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        since = call.query.get("since")
        if since not in (None, "", NOWHERE):
            return await ask(sent)
        key = (call.user, call.device, since or None)
        if key not in self._first:
            outcome = await ask(with_query(sent, since=None))
            if decoded(outcome) is None:
                return outcome
            assert isinstance(outcome, Answer), "it has been decoded"
            self._first[key] = outcome
        return self._first[key]


class PositionsAccepted(SyncManner):
    name = "positions-accepted"
    does = "accepts a `since` that it never gave: 200, and nothing new"
    section = _SYNC
    helps = "do not wait for a refusal to notice that the homeserver's database is another one"

    async def sync(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        outcome = await ask(sent)
        if not call.query.get("since") or not isinstance(outcome, Answer) or outcome.status != 400:
            return outcome
        now = await ask(with_query(sent, since=None, timeout="0", full_state=None))
        body = decoded(now)
        return outcome if body is None else with_body(now, {"next_batch": body["next_batch"]})


class LeftRoomsAlways(SyncManner):
    name = "left-rooms-always"
    does = "tells of left rooms in every sync, with or without `include_leave`, until they are forgotten"
    section = _SYNC
    helps = "do not take a room in `leave` for one that was left just now"

    def __init__(self) -> None:
        self._left: defaultdict[str | None, set[str]] = defaultdict(set)

    async def question(self, call: Call, sent: Sent, ask: Ask) -> Sent:
        return await with_filter(call, sent, ask, {"room": {"include_leave": True}})

    async def answer(self, call: Call, body: Body, sent: Sent, ask: Ask) -> Body:
        left, rooms = self._left[call.user], body.get("rooms", {})
        left.difference_update(rooms.get("join", {}), rooms.get("invite", {}), rooms.get("knock", {}))
        left.update(rooms.get("leave", {}))
        if left:
            told = body.setdefault("rooms", {}).setdefault("leave", {})
            for room in left:
                nothing: Body = {"events": [], "limited": False, "prev_batch": body["next_batch"]}
                told.setdefault(room, {"timeline": nothing, "state": {"events": []}})
        return body

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        outcome = await super().around(call, sent, ask)
        if call.path.endswith("/forget"):
            self._left[call.user].discard(call.path.split("/")[-2])
        return outcome


class LeftRoomsWithoutState(SyncManner):
    name = "left-rooms-without-state"
    does = "leaves out the `state` of a left room"
    section = _SYNC
    helps = "expect no part of a room in `leave`; matrix-nio raises there"

    async def answer(self, call: Call, body: Body, sent: Sent, ask: Ask) -> Body:
        for room in body.get("rooms", {}).get("leave", {}).values():
            room.pop("state", None)
        return body


class WokenWithNothing(SyncManner):
    name = "woken-with-nothing"
    does = "answers a sync that has waited with nothing, and tells the news in the next one"
    section = _SYNC
    helps = "go on with the next sync at once"

    def __init__(self) -> None:
        self._woken: set[tuple[str | None, str, str]] = set()

    async def sync(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        outcome = await ask(sent)
        since, body = call.query.get("since"), decoded(outcome)
        if not since or call.query.get("timeout", "0") == "0" or body is None or not has_news(body):
            return outcome
        woken = (call.user, call.device, since)
        if woken in self._woken:
            self._woken.discard(woken)
            return outcome
        self._woken.add(woken)
        return with_body(outcome, {"next_batch": since})


class ToldTwice(SyncManner):
    name = "told-twice"
    does = "tells events, invites and to-device messages again in the next sync"
    section = _SYNC
    helps = "know events by their ids, and handle each once"

    def __init__(self) -> None:
        self._told: dict[tuple[str | None, str], Body] = {}

    async def answer(self, call: Call, body: Body, sent: Sent, ask: Ask) -> Body:
        if not call.query.get("since"):
            return body
        device = (call.user, call.device)
        before, self._told[device] = self._told.get(device, {}), json.loads(json.dumps(body))
        if events := before.get("to_device", {}).get("events"):
            now = body.setdefault("to_device", {}).setdefault("events", [])
            now[:0] = events
        if earlier := before.get("rooms"):
            await self._tell_again(earlier, body, ask, follow_up(call, sent, "/_matrix/client/v3/joined_rooms"))
        return body

    async def _tell_again(self, earlier: Body, body: Body, ask: Ask, which_rooms: Sent) -> None:
        answered = decoded(await ask(which_rooms)) or {}
        still_in = set(answered.get("joined_rooms", ()))
        rooms = body.setdefault("rooms", {})
        for room_id, room in earlier.get("join", {}).items():
            if room_id in still_in and (events := room.get("timeline", {}).get("events")):
                now = rooms.setdefault("join", {}).setdefault(room_id, _quiet_room(body["next_batch"]))
                now.setdefault("timeline", {}).setdefault("events", [])[:0] = events
        for room_id, invite in earlier.get("invite", {}).items():
            if room_id not in still_in and room_id not in rooms.get("leave", {}):
                rooms.setdefault("invite", {}).setdefault(room_id, invite)


class MembersRepeated(SyncManner):
    name = "members-repeated"
    does = "repeats the membership of whoever says something, beside what they say"
    section = "#lazy-loading-room-members"
    helps = "do not take a member event for somebody who has just joined"

    async def answer(self, call: Call, body: Body, sent: Sent, ask: Ask) -> Body:
        if not call.query.get("since"):
            return body
        for room_id, room in body.get("rooms", {}).get("join", {}).items():
            events = room.get("timeline", {}).get("events", [])
            for sender in sorted({e["sender"] for e in events if "state_key" not in e and "sender" in e}):
                where = (
                    f"/_matrix/client/v3/rooms/{quote(room_id, safe='')}/state/m.room.member/{quote(sender, safe='')}"
                )
                member = decoded(await ask(follow_up(call, sent, where + "?format=event")))
                if member is not None and member.get("event_id") not in {e.get("event_id") for e in events}:
                    state = room.setdefault(_state_of(room), {}).setdefault("events", [])
                    state.append({key: value for key, value in member.items() if key != "room_id"})
        return body


class OwnJoinInState(SyncManner):
    name = "own-join-in-state"
    does = "tells a device's own join only in `state`, not in the timeline"
    section = _SYNC
    helps = "notice a join wherever it stands, or take each room in `join` for joined"

    async def answer(self, call: Call, body: Body, sent: Sent, ask: Ask) -> Body:
        for room in _joined(body):
            events = room.get("timeline", {}).get("events", [])
            own = [event for event in events if _is_member_event(event, call.user)]
            if own:
                events[:] = [event for event in events if event not in own]
                state = room.setdefault(_state_of(room), {}).setdefault("events", [])
                state[:] = [event for event in state if not _is_member_event(event, call.user)] + own[-1:]
        return body


class NewRoomsWithoutState(SyncManner):
    name = "new-rooms-without-state"
    does = "leaves out the state of a room that is new to a device"
    section = _SYNC
    helps = "read `/rooms/{roomId}/state` of a room that is new"

    def __init__(self) -> None:
        self._known: defaultdict[tuple[str | None, str], set[str]] = defaultdict(set)

    async def answer(self, call: Call, body: Body, sent: Sent, ask: Ask) -> Body:
        known = self._known[call.user, call.device]
        for room_id, room in body.get("rooms", {}).get("join", {}).items():
            if call.query.get("since") and room_id not in known:
                for key in [key for key in room if "state" in key]:
                    room[key] = {"events": []}
            known.add(room_id)
        known.difference_update(body.get("rooms", {}).get("leave", {}))
        return body


class NewsAtTheEnd(SyncManner):
    name = "news-at-the-end"
    does = "misses what happens just while a sync begins to wait, and tells it when the wait ends"
    section = _SYNC
    helps = "ask for short waits while something may come, for example after activity"

    async def sync(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        timeout = call.query.get("timeout", "0")
        if not call.query.get("since") or not timeout.isdigit() or int(timeout) < 1000 * BEGINS_S:
            return await ask(sent)
        begun = await ask(with_query(sent, timeout="0"))
        body = decoded(begun)
        if body is None or has_news(body):
            return begun
        await asyncio.sleep(BEGINS_S)
        missed = decoded(await ask(with_query(sent, timeout="0")))
        rest = with_query(sent, timeout=str(int(timeout) - int(1000 * BEGINS_S)))
        if missed is None or not has_news(missed):
            return await ask(rest)
        await ask(with_query(rest, since=missed["next_batch"]))
        outcome = await ask(with_query(sent, timeout="0"))
        told = decoded(outcome)
        messages = missed.get("to_device", {}).get("events")
        if told is None or not messages:
            return outcome
        # The homeserver has forgotten them since it was asked for what comes after them.
        events = told.setdefault("to_device", {}).setdefault("events", [])
        events[:0] = [event for event in messages if event not in events]
        return with_body(outcome, told)


class TimelinesOfTen(SyncManner):
    name = "timelines-of-ten"
    does = f"gives timelines of {TIMELINE_EVENTS} events, whatever the filter says"
    section = "#filtering"
    helps = "fill the gap before a `limited` timeline by `/messages`"

    async def question(self, call: Call, sent: Sent, ask: Ask) -> Sent:
        return await with_filter(call, sent, ask, {"room": {"timeline": {"limit": TIMELINE_EVENTS}}})


class NoStateAfter(SyncManner):
    name = "no-state-after"
    does = "knows no `use_state_after` (since version 1.16 of the specification)"
    section = _SYNC
    helps = "read `state`, then the state events of the timeline, if `state_after` is missing"
    names: ClassVar[tuple[str, ...]] = ("use_state_after", "org.matrix.msc4222.use_state_after")

    async def question(self, call: Call, sent: Sent, ask: Ask) -> Sent:
        return with_query(sent, **dict.fromkeys(self.names))


class QuietRoomsLeftOut(SyncManner):
    name = "quiet-rooms-left-out"
    does = "leaves quiet rooms out of a sync with `since` and `full_state=true`"
    section = _SYNC
    helps = "ask for a whole picture without `since`"

    async def question(self, call: Call, sent: Sent, ask: Ask) -> Sent:
        return with_query(sent, full_state=None) if call.query.get("since") else sent


class EmptyTimelinesLoseState(SyncManner):
    name = "empty-timelines-lose-state"
    does = "leaves out the newest state event of a room whose timeline is empty"
    section = _SYNC
    helps = "ask for a timeline of at least one event"

    async def answer(self, call: Call, body: Body, sent: Sent, ask: Ask) -> Body:
        for room in _joined(body):
            if not room.get("timeline", {}).get("events"):
                for key in [key for key in room if "state" in key and room[key].get("events")]:
                    newest = max(reversed(room[key]["events"]), key=lambda event: event.get("origin_server_ts", 0))
                    room[key]["events"].remove(newest)
        return body


async def with_filter(call: Call, sent: Sent, ask: Ask, changes: Body) -> Sent:
    """Return a sync with a changed filter. A filter that the client has stored on the homeserver is read there."""
    given = call.query.get("filter", "")
    if given.startswith("{"):
        chosen = json.loads(given)
    elif given:
        where = f"/_matrix/client/v3/user/{quote(call.user or '', safe='')}/filter/{quote(given, safe='')}"
        stored = decoded(await ask(follow_up(call, sent, where)))
        if stored is None:
            return sent  # the homeserver will refuse it
        chosen = stored
    else:
        chosen = {}
    return with_query(sent, filter=json.dumps(_merged(chosen, changes)))


def _merged(one: Body, other: Body) -> Body:
    """Return an object with the values of another one, at every depth."""
    return {**one, **{k: _merged(one.get(k) or {}, v) if isinstance(v, dict) else v for k, v in other.items()}}


def _joined(body: Body) -> Iterator[Body]:
    yield from body.get("rooms", {}).get("join", {}).values()


def _state_of(room: Body) -> str:
    """Return the part of a joined room that holds its state."""
    return next((key for key in room if key.endswith("state_after")), "state")


def _is_member_event(event: Body, user: str | None) -> bool:
    return event.get("type") == "m.room.member" and event.get("state_key") == user


def _quiet_room(position: str) -> Body:
    return {"timeline": {"events": [], "limited": False, "prev_batch": position}, "state": {"events": []}}
