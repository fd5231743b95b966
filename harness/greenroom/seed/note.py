"""The note about a seeding, kept beside the homeserver's data: which version of a blueprint was applied.

`dev` applies a blueprint again only if it differs from the note, so that later starts keep what people did since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.homeserver.settings import replace_text
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.blueprint_checks import MEMBERSHIPS

VERSION = 1
# Of a room: seeding writes them in createRoom only.
FIXED_AT_CREATION = ("space", "direct", "preset", "power_levels", "room_version")


@dataclass(frozen=True)
class Note:
    """What was applied: a hash of the blueprint, the people's display names, and each room as the blueprint had it."""

    sha256: str
    people: Mapping[str, str | None]
    rooms: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, blueprint: Blueprint) -> Note:
        """Return the note for a blueprint. It holds no password."""
        return cls(
            blueprint.fingerprint,
            {person.name: person.displayname for person in blueprint.people},
            {room.key: room.model_dump(mode="json") for room in blueprint.rooms},
        )


def note_path(folder: Path, blueprint: Blueprint) -> Path:
    """Return where the note about a blueprint is, in the folder of the homeserver's data."""
    return folder / f"seeded-{blueprint.name}"


def read_note(path: Path) -> Note | None:
    """Return the note, or None if there is none that can be read. Earlier versions of Greenroom wrote an empty file."""
    try:
        kept = json.loads(path.read_text())
        if kept["version"] != VERSION:
            return None
        note = Note(str(kept["sha256"]), dict(kept["people"]), {key: dict(room) for key, room in kept["rooms"].items()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return note


def write_note(path: Path, note: Note) -> None:
    """Write the note atomically."""
    kept = {"version": VERSION, "sha256": note.sha256, "people": note.people, "rooms": note.rooms}
    replace_text(path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def stays(before: Note | None, blueprint: Blueprint) -> list[str]:
    """Return a line for each thing of the version applied before that applying a blueprint now does not undo."""
    if before is None:
        return []
    now = Note.of(blueprint)
    return [*_people(before, now), *(line for key in before.rooms for line in _room(key, before.rooms[key], now))]


def _people(before: Note, now: Note) -> Iterator[str]:
    for name, displayname in before.people.items():
        if name not in now.people:
            yield f"{name} stays: an account is never removed"
        elif displayname != now.people[name]:
            yield f"{name} keeps the display name {displayname or name!r}"


def _room(key: str, before: Mapping[str, Any], notes: Note) -> Iterator[str]:
    now = notes.rooms.get(key)
    if now is None:
        yield f"room {key} stays, with everybody in it"
        return
    if now["creator"] != before.get("creator"):
        yield f"room {key} of {before.get('creator')} stays; {now['creator']} creates another"
        return
    for field in FIXED_AT_CREATION:
        if before.get(field) != now[field]:
            yield f"room {key} keeps its {field}: it is set when a room is created"
    if before.get("encrypted") and not now["encrypted"]:
        yield f"room {key} stays encrypted"
    if now["archived"] and not before.get("archived"):
        yield f"room {key} stays in every Space that lists it"
    if before.get("replaced_by") and not now["replaced_by"]:
        yield f"room {key} stays replaced by {before['replaced_by']}"
    yield from _fewer(key, before, now, notes)


def _fewer(key: str, before: Mapping[str, Any], now: Mapping[str, Any], notes: Note) -> Iterator[str]:
    """Yield what one room had more of before: people, children, state, messages."""
    named = {name for field in MEMBERSHIPS for name in now[field]}
    for field, how in (("members", "in"), ("invited", "invited to"), ("banned", "banned from")):
        for name in before.get(field, ()):
            if name not in named:
                yield f"{name} stays {how} room {key}"
    for child in before.get("children", ()):
        if child not in now["children"] and child in notes.rooms:  # else there is a line about the room already
            yield f"room {child} stays listed in space {key}"
    kept = {(event["type"], event["state_key"]) for event in now["state"]}
    for event in before.get("state", ()):
        if (event["type"], event["state_key"]) not in kept:
            yield f"room {key} keeps the state {event['type']}"
    if before.get("messages", []) != now["messages"][: len(before.get("messages", ()))]:
        yield f"room {key} keeps the messages that were sent"
