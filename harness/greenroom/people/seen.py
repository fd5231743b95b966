"""What one account has seen through `/sync`: raw events as the server sent them, in order of arrival.

A sync gives the events of each room in order, and no order between rooms. There the time of the events decides.

Checks do not use matrix-nio's room model on purpose. That model merges power levels, keeps no custom state and misses
kicks, so it can differ from what the server sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import merge
from typing import Any, Generic, TypeVar

import nio

from greenroom.waiting import NotYet

T = TypeVar("T", covariant=True)
Raw = Mapping[str, Any]


@dataclass(frozen=True)
class SeenEvent:
    """One timeline event. `content` is decrypted if this account could decrypt it.

    `encrypted`: it came encrypted, and was decrypted. One that could not be decrypted has type `m.room.encrypted`.
    `in_encrypted_room`: its room was encrypted when it came. `at`: when its homeserver took it, in seconds since the
    epoch; 0.0 if that is not known.
    """

    room_id: str
    event_id: str
    type: str
    sender: str
    content: Raw
    state_key: str | None
    encrypted: bool
    in_encrypted_room: bool = False
    at: float = 0.0

    @property
    def body(self) -> str | None:
        """The text of a message."""
        body = self.content.get("body")
        return body if self.type == "m.room.message" and isinstance(body, str) else None

    @property
    def is_unreadable(self) -> bool:
        """Whether it is encrypted, and this account could not decrypt it. A redacted one has nothing to read."""
        return self.type == "m.room.encrypted" and bool(self.content)

    @property
    def relation(self) -> Raw:
        """The content of `m.relates_to`."""
        relation = self.content.get("m.relates_to")
        return relation if isinstance(relation, Mapping) else {}

    @property
    def replaces(self) -> str | None:
        """The id of the event that this one edits."""
        return self._related("m.replace")

    @property
    def reacts_to(self) -> str | None:
        """The id of the event that this one reacts to."""
        return self._related("m.annotation")

    @property
    def replies_to(self) -> str | None:
        """The id of the event that this one replies to."""
        to = self.relation.get("m.in_reply_to")
        return str(to.get("event_id")) if isinstance(to, Mapping) else None

    @property
    def redacts(self) -> str | None:
        """The id of the event that this one redacts."""
        return str(self.content["redacts"]) if self.type == "m.room.redaction" and "redacts" in self.content else None

    @property
    def new_body(self) -> str | None:
        """The new text of an edit."""
        new = self.content.get("m.new_content")
        return str(new.get("body")) if isinstance(new, Mapping) else None

    def _related(self, kind: str) -> str | None:
        return str(self.relation.get("event_id")) if self.relation.get("rel_type") == kind else None


@dataclass
class Seen:
    """Everything one account has seen since its first sync."""

    user_id: str
    joined: set[str] = field(default_factory=set)
    invited: dict[str, str] = field(default_factory=dict)  # room id -> sender of the invite
    invite_names: dict[str, str] = field(default_factory=dict)  # room id -> the room's name, as the invite has it
    left: set[str] = field(default_factory=set)
    state: dict[str, dict[tuple[str, str], Raw]] = field(default_factory=dict)  # room id -> (type, state key) -> event
    timeline: list[SeenEvent] = field(default_factory=list)
    sealed: dict[str, nio.MegolmEvent] = field(default_factory=dict)  # by event id: their keys have not come
    _known: set[str] = field(default_factory=set)

    def take(self, response: nio.SyncResponse) -> None:
        """Add the content of one sync."""
        timelines = []
        for rooms, where in ((response.rooms.join, self.joined), (response.rooms.leave, self.left)):
            for room_id, info in rooms.items():
                self._enter(room_id, where)
                self._take_state(room_id, getattr(info, "state", ()))
                timelines.append([(room_id, event) for event in info.timeline.events])
        for room_id, event in merge(*timelines, key=self._moment):  # keeps the order of each room
            self._take_event(room_id, event)
        for room_id, info in response.rooms.invite.items():
            self._enter(room_id, None)
            self.invited[room_id] = self._inviter(info.invite_state)
            self.invite_names[room_id] = _name_in(info.invite_state)

    def state_content(self, room_id: str, kind: str, state_key: str = "") -> Raw | None:
        """Return the content of a state event, or None if this account has not seen one."""
        event = self.state.get(room_id, {}).get((kind, state_key))
        return None if event is None else event.get("content", {})

    def membership(self, room_id: str, user_id: str) -> str | None:
        """Return a user's membership in a room, or None if this account has not seen it."""
        content = self.state_content(room_id, "m.room.member", user_id)
        return None if content is None else str(content.get("membership"))

    def messages(self, room_id: str | None = None, *, after: str | None = None) -> Iterator[SeenEvent]:
        """Yield messages, of one room or all; with `after`, only those that came after that event id."""
        return (event for event in self.events(room_id, after=after) if event.type == "m.room.message")

    def events(self, room_id: str | None = None, *, after: str | None = None) -> Iterator[SeenEvent]:
        """Yield timeline events, of one room or all; with `after`, only those that came after that event id."""
        started = after is None
        for event in self.timeline:
            if started and room_id in (None, event.room_id):
                yield event
            started = started or event.event_id == after

    def unseal(self, decrypt: Callable[[nio.MegolmEvent], nio.Event]) -> None:
        """Decrypt events whose keys came after them. They keep their place in the timeline."""
        for event_id, event in list(self.sealed.items()):
            try:
                raw = decrypt(event).source
            except nio.EncryptionError:
                continue
            at = next(index for index, seen in enumerate(self.timeline) if seen.event_id == event_id)
            opened = {"type": raw["type"], "content": raw.get("content", {}), "encrypted": True}
            self.timeline[at] = replace(self.timeline[at], **opened)
            del self.sealed[event_id]

    def is_encrypted(self, room_id: str) -> bool:
        """Return whether a room is encrypted, as far as this account has seen."""
        return ("m.room.encryption", "") in self.state.get(room_id, {})

    def _enter(self, room_id: str, where: set[str] | None) -> None:
        self.joined.discard(room_id)
        self.left.discard(room_id)
        self.invited.pop(room_id, None)
        self.invite_names.pop(room_id, None)
        if where is not None:
            where.add(room_id)

    def _take_state(self, room_id: str, events: Iterable[Any]) -> None:
        for event in events:
            raw = event.source
            self.state.setdefault(room_id, {})[raw["type"], raw.get("state_key", "")] = raw

    def _moment(self, placed: tuple[str, Any]) -> tuple[int, bool]:
        """Return what orders events of different rooms. In one millisecond our own question precedes its answer."""
        raw = placed[1].source
        return raw.get("origin_server_ts", 0), raw.get("sender") != self.user_id

    def _take_event(self, room_id: str, event: Any) -> None:
        raw = event.source
        if raw.get("event_id") in self._known:  # a second initial sync sends the latest events again
            return
        self._known.add(raw.get("event_id"))
        if "state_key" in raw:
            self.state.setdefault(room_id, {})[raw["type"], raw["state_key"]] = raw
        if isinstance(event, nio.MegolmEvent):
            self.sealed[event.event_id] = event
        self.timeline.append(
            SeenEvent(
                room_id=room_id,
                event_id=raw.get("event_id", ""),
                type=raw["type"],
                sender=raw.get("sender", ""),
                content=raw.get("content", {}),
                state_key=raw.get("state_key"),
                encrypted=bool(getattr(event, "decrypted", False)),
                in_encrypted_room=self.is_encrypted(room_id),
                at=raw.get("origin_server_ts", 0) / 1000,
            )
        )

    def _inviter(self, invite_state: Iterable[Any]) -> str:
        for event in invite_state:
            raw = event.source
            if raw.get("type") == "m.room.member" and raw.get("state_key") == self.user_id:
                return str(raw.get("sender", ""))
        return ""


def _name_in(invite_state: Iterable[Any]) -> str:
    names = (event.source.get("content", {}).get("name") for event in invite_state if _is_name(event.source))
    return str(next(names, None) or "")


def _is_name(raw: Raw) -> bool:
    return raw.get("type") == "m.room.name"


@dataclass(frozen=True)
class SeenCheck(Generic[T]):
    """A check with a name that completes "waited 15 s for ..."."""

    what: str
    test: Callable[[Seen], T | NotYet]

    def __call__(self, seen: Seen) -> T | NotYet:
        return self.test(seen)

    def __and__(self, other: SeenCheck[Any]) -> SeenCheck[list[Any]]:
        return all_of(self, other)

    def __or__(self, other: SeenCheck[Any]) -> SeenCheck[Any]:
        return any_of(self, other)


def all_of(*checks: SeenCheck[Any]) -> SeenCheck[list[Any]]:
    """Return the check that all of these hold at once. It returns the list of their results. Also written `a & b`."""

    def test(seen: Seen) -> list[Any] | NotYet:
        outcomes = [check(seen) for check in checks]
        missing = [
            f"{check.what}: {outcome.reason}"
            for check, outcome in zip(checks, outcomes, strict=True)
            if isinstance(outcome, NotYet)
        ]
        return NotYet(" AND ".join(missing)) if missing else outcomes

    return SeenCheck(" and ".join(check.what for check in checks), test)


def any_of(*checks: SeenCheck[Any]) -> SeenCheck[Any]:
    """Return the check that one of these holds. It returns the first result. Also written `a | b`."""

    def test(seen: Seen) -> Any:
        reasons = []
        for check in checks:
            outcome = check(seen)
            if not isinstance(outcome, NotYet):
                return outcome
            reasons.append(f"{check.what}: {outcome.reason}")
        return NotYet(" AND ".join(reasons))

    return SeenCheck(" or ".join(check.what for check in checks), test)
