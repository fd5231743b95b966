"""What the homeserver says, reduced to the facts that decide a room's outcome. Pure: JSON in, frozen values out.

Power, membership and children come from the raw events. nio's model merges power levels, ignores left rooms, and counts
an emptied `m.space.child` as a child.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_bot.rooms.identity import IDENTITY_POWER, IDENTITY_TYPE
from greenroom_bot.rooms.titles import clean_title

Membership = Literal["join", "invite", "leave", "ban"]
Event = Mapping[str, Any]

STATE_TYPES = (
    IDENTITY_TYPE, "m.room.create", "m.room.power_levels", "m.room.name", "m.room.member", "m.room.tombstone",
    "m.room.encryption", "m.space.child",
)  # fmt: skip
SNAPSHOT_FILTER: dict[str, Any] = {
    "room": {
        "include_leave": True,
        "state": {"types": list(STATE_TYPES)},
        "timeline": {"limit": 1},  # 0 has server bugs; the one event may be the newest state (tuwunel up to 1.9.0)
        "ephemeral": {"not_types": ["*"]},
        "account_data": {"not_types": ["*"]},
    },
    "presence": {"not_types": ["*"]},
    "account_data": {"types": ["m.direct"]},
}
"""Asks for exactly what `server_view` reads. Not for the live loop, which needs whole timelines."""

_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,16}\s*")
_SURROGATE = re.compile("[\ud800-\udfff]")
CREATORS_HAVE_ALL_POWER = 12
"""First room version in which creators are not in `users` and have infinite power (MSC4289)."""


@dataclass(frozen=True)
class RoomView:
    """One room as the homeserver describes it to us now."""

    room_id: RoomId
    membership: Membership
    created_by: str = ""
    created_ts: int = 0
    is_space: bool = False
    identity: Mapping[str, Any] | None = None
    identity_sender: str = ""
    name: str | None = None
    """Clean. None: the view has no name event; "": there is one, and it names nothing."""
    encrypted: bool = False
    replaced_by: str | None = None
    """The tombstone's replacement room ("" if it names none), None without a tombstone."""
    my_power: float = 0
    members: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, bool] = field(default_factory=dict)
    """Of a Space: room -> whether it is listed. A room that was taken out stays here as False."""
    left_because: str = ""
    """Of a room that we are out of: who did it, and the reason given."""
    invited_by: str = ""
    """Of an invite; "" if its stripped state, which the inviter's server writes, names several people: a forgery."""
    invited_direct: bool = False


@dataclass(frozen=True)
class ServerView:
    """Everything that one reconciliation knows of the server.

    `joined` is None if `joined_rooms` could not be fetched: then absence means nothing. `direct` maps the rooms of our
    `m.direct` to the person in them. `complete` is False for a view of a single room, which says nothing about others.
    """

    me: UserId
    rooms: Mapping[RoomId, RoomView]
    joined: frozenset[RoomId] | None
    direct: Mapping[RoomId, UserId] = field(default_factory=dict)
    complete: bool = True


def server_view(sync: Mapping[str, Any], joined: Iterable[str] | None, me: UserId) -> ServerView:
    """Build the view from the body of a tokenless full-state `/sync` and the answer of `/joined_rooms`."""
    rooms: dict[RoomId, RoomView] = {}
    sections: tuple[Literal["leave", "invite", "join"], ...] = ("leave", "invite", "join")
    for section in sections:
        for room_id, info in _mapping(_mapping(sync.get("rooms")).get(section)).items():
            if _is_id(room_id):
                state = _events(info, "invite_state") if section == "invite" else _room_state(info)
                rooms[RoomId(room_id)] = room_view(room_id, state, me, default=section)
    direct = next((e.get("content") for e in _events(sync, "account_data") if e.get("type") == "m.direct"), None)
    joined_ids = None if joined is None else frozenset(map(RoomId, _strings(list(joined))))
    return ServerView(me=me, rooms=rooms, joined=joined_ids, direct=direct_rooms(direct))


def newest_events(sync: Mapping[str, Any]) -> list[str]:
    """Return the ids of the events in the timelines of a sync's joined rooms."""
    joined = _mapping(_mapping(sync.get("rooms")).get("join")).values()
    return _strings([event.get("event_id") for room in joined for event in _events(room, "timeline")])


def room_view(room_id: str, events: Iterable[Event], me: UserId, *, default: Membership) -> RoomView:
    """Reduce a room's state events, oldest first, to a RoomView. Later events win; malformed events do not count.

    `default` is our membership as the sync's section has it; for "leave" our own member event may say more.
    """
    state: dict[tuple[str, str], Event] = {}
    inviters: set[str] = set()
    for event in events:
        if _is_state(event):
            state[event["type"], event["state_key"]] = event
            if (event["type"], event["state_key"]) == ("m.room.member", me):
                inviters.add(str(event.get("sender", "")))
    create, own = state.get(("m.room.create", ""), {}), state.get(("m.room.member", me), {})
    identity, name = state.get((IDENTITY_TYPE, "")), state.get(("m.room.name", ""))
    tombstone = state.get(("m.room.tombstone", ""))
    said = _text(own, "membership")
    trusted = default == "leave" and said in get_args(Membership)
    return RoomView(
        room_id=RoomId(room_id),
        membership=cast(Membership, said) if trusted else default,
        created_by=str(create.get("sender", "")),
        created_ts=_whole(create.get("origin_server_ts")) or 0,
        is_space=_text(create, "type") == "m.space",
        identity=identity["content"] if identity else None,
        identity_sender=str(identity.get("sender", "")) if identity else "",
        name=clean_title(_text(name, "name")) if name else None,
        encrypted=bool(_text(state.get(("m.room.encryption", ""), {}), "algorithm")),
        replaced_by=_text(tombstone, "replacement_room") if tombstone else None,
        my_power=power_of(me, create, state.get(("m.room.power_levels", ""))),
        members={key: _text(event, "membership") for (type_, key), event in state.items() if type_ == "m.room.member"},
        children={key: bool(e["content"].get("via")) for (type_, key), e in state.items() if type_ == "m.space.child"},
        left_because=_why_left(me, own) if default == "leave" else "",
        invited_by=inviters.pop() if default == "invite" and len(inviters) == 1 else "",
        invited_direct=default == "invite" and (own.get("content") or {}).get("is_direct") is True,
    )


def power_of(user_id: str, create: Event, power_levels: Event | None) -> float:
    """Return a user's power from the raw events; infinite for a creator from room version 12 on."""
    content = create.get("content") or {}
    creators = (create.get("sender"), *_strings(content.get("additional_creators")))
    if _version(content.get("room_version")) >= CREATORS_HAVE_ALL_POWER and user_id in creators:
        return math.inf
    if power_levels is None:
        return 100 if user_id == create.get("sender") else 0
    levels = power_levels["content"]
    level = _mapping(levels.get("users")).get(user_id)
    return _whole(level if level is not None else levels.get("users_default")) or 0


def can_keep_identity(view: RoomView) -> bool:
    """Return whether we may still write the identity event."""
    return view.my_power >= IDENTITY_POWER


def direct_rooms(content: object) -> dict[RoomId, UserId]:
    """Turn `m.direct` (person -> list of rooms) around. Malformed parts do not count."""
    people = [(user, rooms) for user, rooms in _mapping(content).items() if _is_id(user)]
    return {RoomId(room): UserId(user) for user, rooms in people for room in _strings(rooms)}


def _room_state(info: object) -> list[Event]:
    """Return a room's state events, oldest first: the state after the timeline where the server tells it (MSC4222),
    else the state before the timeline and then the timeline."""
    for part in ("state_after", "org.matrix.msc4222.state_after"):
        if part in _mapping(info):
            return _events(info, part)
    return _events(info, "state", "timeline")


def _events(info: object, *parts: str) -> list[Event]:
    """Return the events of the named parts of a room's entry, in order, without what is no event."""
    found: list[Event] = []
    for part in parts:
        events = _mapping(_mapping(info).get(part)).get("events")
        found += [e for e in events if isinstance(e, Mapping)] if isinstance(events, list) else []
    return found


def _is_state(event: object) -> bool:
    if not isinstance(event, Mapping) or not isinstance(event.get("content"), Mapping):
        return False
    return all(map(_is_id, (event.get("type"), event.get("state_key"), event.get("sender", ""))))


def _is_id(value: object) -> bool:
    """Return whether a value is text without lone surrogates, which no database takes."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: object) -> list[str]:
    return [item for item in value if _is_id(item)] if isinstance(value, list) else []


def _text(event: Event, key: str) -> str:
    """Return a text of the content without lone surrogates, "" if there is none."""
    value = (event.get("content") or {}).get(key)
    return _SURROGATE.sub("", value) if isinstance(value, str) else ""


def _version(value: object) -> int:
    """Return a room version as a number: 1 if absent, 0 for other strings, which have no order."""
    return (_whole(value) or 0) if isinstance(value, str) else 1 if value is None else 0


def _whole(value: object) -> int | None:
    """Return a number that canonical JSON allows, also if it is written as text (power levels in old rooms)."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return value if isinstance(value, int) and fits else None


def _why_left(me: str, own: Event) -> str:
    by, reason = own.get("sender"), _text(own, "reason")
    if not by:
        return "left"
    what = "banned by" if _text(own, "membership") == "ban" else "kicked by"
    return f"{what} {by}" + (f": {reason}" if reason else "") if by != me else "left by our own account"
