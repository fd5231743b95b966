"""The rooms of a person as a tree: Spaces with what they list, then the rest, then what was left. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from greenroom.people.seen import Seen
from greenroom.stage.being.shown import short_name


@dataclass(frozen=True)
class RoomLine:
    """One room. `marks` are words: Space, encrypted, replaced, left."""

    room_id: str
    name: str
    depth: int = 0
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class InviteLine:
    """An open invite."""

    room_id: str
    name: str
    by: str


def open_invites(seen: Seen, server_name: str) -> list[InviteLine]:
    """Return the open invites."""
    return [
        InviteLine(room, seen.invite_names.get(room) or "a room without a name", short_name(by, server_name))
        for room, by in seen.invited.items()
    ]


def room_tree(seen: Seen, server_name: str) -> list[RoomLine]:
    """Return all rooms, each Space above what it lists. A Space that lists itself ends there."""
    listed = {child for room in seen.joined for child in _children(seen, room) if child != room}
    top = sorted((room for room in seen.joined if room not in listed), key=lambda room: _order(seen, room, server_name))
    lines = [line for room in top for line in _below(seen, room, server_name, 0, ())]
    shown = {line.room_id for line in lines}
    circles = [room for room in sorted(seen.joined) if room not in shown]  # Spaces that list each other
    lines += [_line(seen, room, server_name, 0) for room in circles]
    left = sorted(seen.left, key=lambda room: _order(seen, room, server_name))
    return lines + [_line(seen, room, server_name, 0, "left") for room in left]


def room_name(seen: Seen, room: str, server_name: str) -> str:
    """Return a room's name; without one, who else is in it."""
    name = (seen.state_content(room, "m.room.name") or {}).get("name")
    if isinstance(name, str) and name.strip():
        return name
    others = [short_name(user, server_name) for user in members(seen, room, "join", "invite") if user != seen.user_id]
    return f"chat with {', '.join(sorted(others))}" if others else "a room without a name"


def members(seen: Seen, room: str, *memberships: str) -> list[str]:
    """Return the users with one of these memberships."""
    found = seen.state.get(room, {}).items()
    wanted = memberships or ("join",)
    return [
        key
        for (kind, key), event in found
        if kind == "m.room.member" and event.get("content", {}).get("membership") in wanted
    ]


def is_space(seen: Seen, room: str) -> bool:
    """Return whether a room is a Space."""
    return (seen.state_content(room, "m.room.create") or {}).get("type") == "m.space"


def replaced_by(seen: Seen, room: str) -> str:
    """Return the id of the room that replaces this one; empty if none does."""
    return str((seen.state_content(room, "m.room.tombstone") or {}).get("replacement_room", ""))


def _below(seen: Seen, room: str, server_name: str, depth: int, above: tuple[str, ...]) -> Iterator[RoomLine]:
    yield _line(seen, room, server_name, depth)
    for child in sorted(_children(seen, room), key=lambda one: _order(seen, one, server_name)):
        if child in seen.joined and child not in (*above, room):
            yield from _below(seen, child, server_name, depth + 1, (*above, room))


def _children(seen: Seen, room: str) -> list[str]:
    found = seen.state.get(room, {}).items()
    return [key for (kind, key), event in found if kind == "m.space.child" and event.get("content", {}).get("via")]


def _line(seen: Seen, room: str, server_name: str, depth: int, *marks: str) -> RoomLine:
    own = [
        *(["Space"] if is_space(seen, room) else []),
        *(["encrypted"] if seen.is_encrypted(room) else []),
        *(["replaced"] if replaced_by(seen, room) else []),
    ]
    return RoomLine(room, room_name(seen, room, server_name), depth, (*own, *marks))


def _order(seen: Seen, room: str, server_name: str) -> tuple[bool, str, str]:
    return not is_space(seen, room), room_name(seen, room, server_name).lower(), room
