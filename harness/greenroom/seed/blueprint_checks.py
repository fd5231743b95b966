"""Mistakes that the models cannot find: unknown names, contradictions, circles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from greenroom.seed.blueprint import Blueprint, RoomBlueprint

REFERENCE = re.compile(r"\$\{(?:(room|user):([^}]+)|(server))\}")


def mistakes(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Yield every mistake as (path in the blueprint, problem), in reading order."""
    people = [person.name for person in blueprint.people]
    keys = [room.key for room in blueprint.rooms]
    for index, name in enumerate(people):
        if name in people[:index]:
            yield f"people[{index}].name", f"two people are called {name!r}"
    for index, room in enumerate(blueprint.rooms):
        where = f"rooms[{index}]"
        if room.key in keys[:index]:
            yield f"{where}.key", f"two rooms have the key {room.key!r}"
        for field, name in _names(room):
            if name not in people:
                yield f"{where}.{field}", f"nobody is called {name!r}; there are {', '.join(people)}"
        yield from ((f"{where}.{field}", problem) for field, problem in _contradictions(room, keys))
        yield from ((f"{where}.{field}", problem) for field, problem in _bad_references(room, people, keys))
    yield from _circles(blueprint)


def _names(room: RoomBlueprint) -> Iterator[tuple[str, str]]:
    yield "creator", room.creator
    yield from ((f"members[{i}]", name) for i, name in enumerate(room.members))
    yield from ((f"invited[{i}]", name) for i, name in enumerate(room.invited))
    yield from ((f"power_levels.users.{name}", name) for name in room.power_levels.users)
    yield from ((f"messages[{i}].sender", message.sender) for i, message in enumerate(room.messages))


def _contradictions(room: RoomBlueprint, keys: list[str]) -> Iterator[tuple[str, str]]:
    present = {room.creator, *room.members}
    if room.creator in room.power_levels.users:
        yield f"power_levels.users.{room.creator}", "the creator has every power already (room version 12 refuses this)"
    if room.creator in room.members:
        yield "members", f"{room.creator!r} is the creator, and so a member already"
    if both := set(room.members) & set(room.invited):
        yield "invited", f"{sorted(both)[0]!r} is a member already"
    if room.children and not room.space:
        yield "children", "only a Space has children; add `space: true`"
    if room.direct and len(present | set(room.invited)) != 2:
        yield "direct", "a direct chat has exactly two people"
    for i, key in enumerate(room.children):
        if key not in keys:
            yield f"children[{i}]", f"no room has the key {key!r}"
    for i, message in enumerate(room.messages):
        if message.sender not in present:
            yield f"messages[{i}].sender", f"{message.sender!r} is not a member"


def _bad_references(room: RoomBlueprint, people: list[str], keys: list[str]) -> Iterator[tuple[str, str]]:
    for field, kind, name in references(room):
        if kind == "room" and name not in keys:
            yield field, f"${{room:{name}}} is no room of this blueprint"
        if kind == "user" and name not in people:
            yield field, f"${{user:{name}}} is no person of this blueprint"


def _circles(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    needs = needed_first(blueprint)
    for index, room in enumerate(blueprint.rooms):
        if room.key in all_needed(room.key, needs):
            yield f"rooms[{index}].state", f"{room.key!r} refers to itself, perhaps through other rooms"


def needed_first(blueprint: Blueprint) -> dict[str, set[str]]:
    """Return, for each room, the rooms that its initial state refers to. They must exist before it."""
    return {
        room.key: {name for field, kind, name in references(room) if kind == "room" and field.startswith("state")}
        for room in blueprint.rooms
    }


def all_needed(key: str, needs: dict[str, set[str]]) -> set[str]:
    """Return all rooms that a room needs, directly or through other rooms."""
    found: set[str] = set()
    open_keys = set(needs[key])
    while open_keys:
        current = open_keys.pop()
        if current not in found:
            found.add(current)
            open_keys |= needs.get(current, set())
    return found


def references(room: RoomBlueprint) -> Iterator[tuple[str, str, str]]:
    """Yield a room's references as (field, "room" or "user", name)."""
    texts = [("name", room.name or ""), ("topic", room.topic or "")]
    for i, state in enumerate(room.state):
        texts += [(f"state[{i}].{field}", text) for field, text in _strings(state.content, "content")]
        texts.append((f"state[{i}].state_key", state.state_key))
    texts += [(f"messages[{i}].body", message.body) for i, message in enumerate(room.messages)]
    for field, text in texts:
        for kind, name, _ in REFERENCE.findall(text):
            if kind:
                yield field, kind, name


def _strings(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield where, str(key)
            yield from _strings(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _strings(inner, f"{where}[{i}]")
