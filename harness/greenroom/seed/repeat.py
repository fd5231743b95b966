"""Rooms by number: a room with `repeat` stands for as many rooms, and `${n}` in its texts for the number of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from greenroom.errors import Misuse
from greenroom.seed.blueprint import MOST, Blueprint, RoomBlueprint
from greenroom.yaml_files.places import Loc

NUMBER = "${n}"


def settings_of(words: Sequence[str]) -> dict[str, int]:
    """Return the values of `--set NAME=NUMBER`. Raises Misuse."""
    found: dict[str, int] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) > MOST:
            raise Misuse(
                f"--set needs NAME=NUMBER, with a number from 0 to {MOST}, not {word!r}; for example: rooms=500"
            )
        found[name] = int(value)
    return found


def missing_variables(blueprint: Blueprint) -> Iterator[tuple[Loc, str]]:
    """Yield each `repeat` that names no variable, as (place, name)."""
    for index, room in enumerate(blueprint.rooms):
        if isinstance(room.repeat, str) and room.repeat not in blueprint.variables:
            yield ("rooms", index, "repeat"), room.repeat


def repeated(blueprint: Blueprint, settings: Mapping[str, int]) -> tuple[Blueprint, list[int]]:
    """Return a blueprint with each repeated room written out, and for each of its rooms the index where it comes from.

    A room that names no version has the blueprint's. An entry in `children` that is the key of a repeated room stands
    for all of them.
    """
    values = {**blueprint.variables, **settings}
    rooms: list[dict[str, Any]] = []
    origins: list[int] = []
    keys: dict[str, list[str]] = {}
    for index, room in enumerate(blueprint.rooms):
        copies = list(_copies(room, values))
        keys.setdefault(room.key, []).extend(copy["key"] for copy in copies)
        rooms += copies
        origins += [index] * len(copies)
    for copy in rooms:
        copy["room_version"] = copy["room_version"] or blueprint.room_version
        copy["children"] = [key for child in copy["children"] for key in keys.get(child, [child])]
    whole = blueprint.model_dump(exclude={"rooms", "variables"})
    return Blueprint.model_validate({**whole, "rooms": rooms}), origins


def _copies(room: RoomBlueprint, values: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    template = room.model_dump(exclude={"repeat"})
    if room.repeat is None:
        yield template
        return
    count = values[room.repeat] if isinstance(room.repeat, str) else room.repeat
    for number in range(1, count + 1):
        yield _numbered(template, str(number))


def _numbered(value: Any, number: str) -> Any:
    if isinstance(value, str):
        return value.replace(NUMBER, number)
    if isinstance(value, dict):
        return {_numbered(key, number): _numbered(inner, number) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbered(inner, number) for inner in value]
    return value
