"""Mistakes that the models cannot find: unknown names, contradictions, circles, values that no event can hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from greenroom.seed.blueprint import LARGEST, Blueprint, RoomBlueprint
from greenroom.yaml_files.names import choice
from greenroom.yaml_files.places import Loc

REFERENCE = re.compile(r"\$\{(?:(room|user):([^}]+)|(server))\}")
LIKE_A_REFERENCE = re.compile(r"\$\{(\w+)(?::[^}]*)?\}")
MEMBERSHIPS = ("members", "invited", "left", "banned")


def mistakes(blueprint: Blueprint) -> Iterator[tuple[Loc, str]]:
    """Yield every mistake as (place in the blueprint, problem), in reading order."""
    people = _first_places(person.name for person in blueprint.people)
    keys = _first_places(room.key for room in blueprint.rooms)
    for index, person in enumerate(blueprint.people):
        if people[person.name] != index:
            yield ("people", index, "name"), f"two people are called {person.name!r}"
    for index, room in enumerate(blueprint.rooms):
        if keys[room.key] != index:
            yield ("rooms", index, "key"), f"two rooms have the key {room.key!r}"
        for loc, name in _names(room):
            if name not in people:
                yield ("rooms", index, *loc), f"nobody is called {name!r}{choice(name, people)}"
        for loc, problem in (
            *_contradictions(room, keys),
            *_bad_references(room, people, keys),
            *_bad_values(room),
        ):
            yield ("rooms", index, *loc), problem
    yield from _circles(blueprint)


def _first_places(names: Iterable[str]) -> dict[str, int]:
    """Return the index at which each name stands first, in reading order."""
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        places.setdefault(name, index)
    return places


def _names(room: RoomBlueprint) -> Iterator[tuple[Loc, str]]:
    yield ("creator",), room.creator
    for field in MEMBERSHIPS:
        yield from (((field, i), name) for i, name in enumerate(getattr(room, field)))
    yield from ((("power_levels", "users", name), name) for name in room.power_levels.users)
    yield from ((("state", i, "sender"), state.sender) for i, state in enumerate(room.state) if state.sender)
    yield from ((("messages", i, "sender"), message.sender) for i, message in enumerate(room.messages))


def _contradictions(room: RoomBlueprint, keys: Collection[str]) -> Iterator[tuple[Loc, str]]:
    present = {room.creator, *room.joining}
    if room.creator in room.power_levels.users:
        yield (
            ("power_levels", "users", room.creator),
            "the creator has every power already (room version 12 refuses this)",
        )
    yield from _memberships(room)
    if room.children and not room.space:
        yield ("children",), "only a Space has children; add `space: true`"
    if room.direct and len(present | set(room.invited)) != 2:
        yield ("direct",), "a direct chat has exactly two people"
    for i, key in enumerate(room.children):
        if key not in keys:
            yield ("children", i), f"no room has the key {key!r}{choice(key, keys)}"
    if room.replaced_by is not None and room.replaced_by not in keys:
        yield ("replaced_by",), f"no room has the key {room.replaced_by!r}{choice(room.replaced_by, keys)}"
    senders = [(("messages", i, "sender"), message.sender) for i, message in enumerate(room.messages)]
    senders += [(("state", i, "sender"), state.sender) for i, state in enumerate(room.state) if state.sender]
    yield from ((loc, f"{name!r} is not a member") for loc, name in senders if name not in present)


def _memberships(room: RoomBlueprint) -> Iterator[tuple[Loc, str]]:
    """Yield each person who has two memberships in a room."""
    seen: dict[str, str] = {}
    for field in MEMBERSHIPS:
        for i, name in enumerate(getattr(room, field)):
            if name == room.creator and field == "members":
                yield (field, i), f"{name!r} is the creator, and so a member already"
            elif name == room.creator:
                yield (field, i), f"{name!r} is the creator, and a room without its creator cannot be completed"
            elif name in seen:
                yield (field, i), f"{name!r} is among the {seen[name]} already"
            seen.setdefault(name, field)


def _bad_references(room: RoomBlueprint, people: Collection[str], keys: Collection[str]) -> Iterator[tuple[Loc, str]]:
    for loc, kind, name in references(room):
        if kind == "room" and name not in keys:
            yield loc, f"${{room:{name}}} is no room of this blueprint{choice(name, keys)}"
        if kind == "user" and name not in people:
            yield loc, f"${{user:{name}}} is no person of this blueprint{choice(name, people)}"
    for loc, text in _texts(room):
        if "${n}" in text:  # those of repeated rooms are numbers by now
            yield loc, "${n} is a number only in a room with `repeat`"
        for found in LIKE_A_REFERENCE.finditer(text):
            if REFERENCE.fullmatch(found[0]) is None and get_close_matches(found[1], ("room", "user", "server")):
                yield loc, f"{found[0]} is no reference; there are ${{room:KEY}}, ${{user:NAME}} and ${{server}}"


def _bad_values(room: RoomBlueprint) -> Iterator[tuple[Loc, str]]:
    for i, state in enumerate(room.state):
        yield from _not_json(state.content, ("state", i, "content"))


def _not_json(value: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """Yield each value that an event cannot hold: canonical JSON has no fractions, dates or large numbers."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, str):
                yield from _not_json(inner, (*loc, key))
            else:
                yield loc, f"the field {key!r} is not text; put it in quotes"
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _not_json(inner, (*loc, i))
    elif isinstance(value, int):
        if not -LARGEST <= value <= LARGEST:
            yield loc, f"{value} is too large: an event holds integers up to {LARGEST}"
    elif isinstance(value, float):
        yield loc, f"{value} is refused by homeservers: an event holds whole numbers only"
    elif value is not None and not isinstance(value, str):
        yield loc, f"an event cannot hold {str(value)!r} ({type(value).__name__}); put it in quotes"


def _circles(blueprint: Blueprint) -> Iterator[tuple[Loc, str]]:
    replaced: set[str] = set()
    for index, room in enumerate(blueprint.rooms):
        if room.replaced_by in replaced:
            yield ("rooms", index, "replaced_by"), f"{room.replaced_by!r} replaces another room already"
        replaced |= {room.replaced_by} if room.replaced_by else set()
    needs = needed_first(blueprint)
    for index, room in enumerate(blueprint.rooms):
        if room.key in all_needed(room.key, needs):
            yield ("rooms", index, "state"), f"{room.key!r} needs itself to exist first, perhaps through other rooms"


def needed_first(blueprint: Blueprint) -> dict[str, set[str]]:
    """Return, for each room, the rooms that must exist before it: its state refers to them, or it replaces them.

    State that somebody else than the creator writes comes later, when all rooms exist.
    """
    needs: dict[str, set[str]] = {}
    for room in blueprint.rooms:
        initial = {i for i, state in enumerate(room.state) if state.sender is None}
        found = references(room)
        needs[room.key] = {n for loc, kind, n in found if kind == "room" and loc[0] == "state" and loc[1] in initial}
    for room in blueprint.rooms:
        if room.replaced_by in needs:
            needs[room.replaced_by].add(room.key)
    return needs


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


def references(room: RoomBlueprint) -> Iterator[tuple[Loc, str, str]]:
    """Yield a room's references as (place in the room, "room" or "user", name)."""
    for loc, text in _texts(room):
        for kind, name, _ in REFERENCE.findall(text):
            if kind:
                yield loc, kind, name


def _texts(room: RoomBlueprint) -> Iterator[tuple[Loc, str]]:
    """Yield every text of a room that may contain references."""
    yield ("name",), room.name or ""
    yield ("topic",), room.topic or ""
    for i, state in enumerate(room.state):
        yield from _strings(state.content, ("state", i, "content"))
        yield ("state", i, "state_key"), state.state_key
    yield from ((("messages", i, "body"), message.body) for i, message in enumerate(room.messages))


def _strings(value: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, str):
        yield loc, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield loc, str(key)
            yield from _strings(inner, (*loc, str(key)))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _strings(inner, (*loc, i))
