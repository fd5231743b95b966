"""Complete the answers to a device's syncs: what a homeserver may leave out of them, repeat, or cut off.

The specification promises little about one answer. A timeline may be cut short whatever the filter says, an event may
come twice, and some homeservers leave out the state of a room that is new, or the `state` of a room that was left.
docs/manners.md names them. Everything here is known by its id, so nothing depends on a position.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from greenroom.errors import MatrixRefused

Body = dict[str, Any]
Event = dict[str, Any]
MOST_EVENTS = 100
"""Of a room that is new, so many of its latest events are enough. Also the most that Conduit gives in one answer."""
KEPT_MESSAGES = 500
CREATE = "m.room.create"


class History(Protocol):
    """What a homeserver tells of a room besides its syncs. Both raise MatrixRefused."""

    async def state(self, room_id: str) -> list[Event]:
        """Return the state events of a room now."""

    async def page(self, room_id: str, position: str | None) -> tuple[list[Event], str | None]:
        """Return events before a position, the newest first, and the position before those. None: the end."""


class Whole:
    """What one device knows: completes one sync after the other, in order."""

    def __init__(self, history: History, user_id: str) -> None:
        self._history, self._user_id = history, user_id
        self._events: defaultdict[str, set[str]] = defaultdict(set)  # room id -> event ids of its timeline
        self._joined: set[str] = set()  # rooms of which this device has the state
        self._messages: deque[str] = deque(maxlen=KEPT_MESSAGES)  # to-device messages, as they came
        self._invites: dict[str, Body] = {}  # by room id, as they came

    async def complete(self, body: Body) -> None:
        """Change the answer to a sync: nothing twice, no gaps, the state of each new room.

        What it brought is known only in the end: an answer of which the completion was cancelled comes again.
        """
        rooms = body.get("rooms", {})
        left, joined = rooms.get("leave", {}), rooms.get("join", {})
        for room_id, room in left.items():
            room.setdefault("state", {"events": []})  # matrix-nio 0.26 raises where it is missing
            if self._events[room_id]:
                await self._fill(room_id, room)
        for room_id, room in joined.items():
            if room_id not in self._joined and not _is_whole(room):
                with suppress(MatrixRefused):  # we may have left it meanwhile
                    room["state"] = {"events": await self._history.state(room_id)}
            await self._fill(room_id, room)
        self._note(body, left, joined)

    async def _fill(self, room_id: str, room: Body) -> None:
        """Put what happened before a timeline that was cut short in front of it."""
        timeline = room.get("timeline", {})
        if timeline.get("limited"):
            told = timeline.setdefault("events", [])
            with suppress(MatrixRefused):
                told[:0] = await self._before(room_id, timeline.get("prev_batch"), told)

    def _note(self, body: Body, left: Body, joined: Body) -> None:
        """Remember what came, and take out what came before."""
        if messages := body.get("to_device", {}).get("events"):
            messages[:] = self._new_messages(messages)
        if invites := body.get("rooms", {}).get("invite"):
            self._note_invites(invites)
        for room_id, room in (*left.items(), *joined.items()):
            told = room.setdefault("timeline", {}).setdefault("events", [])
            new = {event["event_id"]: event for event in told if event["event_id"] not in self._events[room_id]}
            told[:] = new.values()
            self._events[room_id].update(new)
        self._joined.difference_update(left)
        self._joined.update(room_id for room_id, room in joined.items() if _is_whole(room))

    def _note_invites(self, invites: Body) -> None:
        """Take out an invite that comes again after it led to a join. An invite need not have an id."""
        for room_id, invite in [*invites.items()]:
            if room_id in self._joined and self._invites.get(room_id) == invite:
                del invites[room_id]
            self._invites[room_id] = invite

    def _new_messages(self, messages: Iterable[Event]) -> list[Event]:
        """Return messages that did not come before. An encrypted one cannot be decrypted a second time."""
        new = []
        for message in messages:
            text = json.dumps(message, sort_keys=True)
            if text not in self._messages:
                self._messages.append(text)
                new.append(message)
        return new

    async def _before(self, room_id: str, position: str | None, told: Iterable[Event]) -> list[Event]:
        """Return what happened before a timeline that was cut short: back to an event that is known.

        Not to a position: Conduit heeds none. Of a room without a known event, as many as make MOST_EVENTS, and none
        before the user's own join: for those a homeserver may have to ask another one, which may be away.
        """
        known = self._events[room_id]
        found = {event["event_id"]: event for event in told if event["event_id"] not in known}
        here = len(found)
        if any(event.get("type") == CREATE or self._is_own_join(event) for event in found.values()):
            return []
        while known or len(found) < MOST_EVENTS:
            page, position = await self._history.page(room_id, position)
            for event in page:
                if event["event_id"] in known:
                    position = None
                    break
                found.setdefault(event["event_id"], event)
                if self._is_own_join(event):
                    position = None
                    break
            if not page or position is None:
                break
        most = None if known else MOST_EVENTS
        return [*found.values()][here:most][::-1]

    def _is_own_join(self, event: Event) -> bool:
        """Return whether the user joined by this event. A change of the own profile is a member event, too."""
        if (event.get("type"), event.get("state_key")) != ("m.room.member", self._user_id):
            return False
        before = (event.get("unsigned") or {}).get("prev_content") or {}
        return bool(event["content"].get("membership") == "join" != before.get("membership"))


def _is_whole(room: Body) -> bool:
    """Return whether a room has its state: then there is the event that created the room."""
    told = (*room.get("state", {}).get("events", ()), *room.get("timeline", {}).get("events", ()))
    return any(event.get("type") == CREATE for event in told)
