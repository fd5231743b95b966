"""Fill in a blueprint's references, and render the events of a room, once ids are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenroom.seed.blueprint import Blueprint, RoomBlueprint
from greenroom.seed.blueprint_checks import REFERENCE
from greenroom.seed.survey import SEED_MARKER


class UnknownRoom(LookupError):
    """A reference to a room that does not exist yet."""


@dataclass(frozen=True)
class Names:
    """The values of references on one server."""

    server_name: str
    room_ids: Mapping[str, str]

    def user(self, localpart: str) -> str:
        """Return a person's user id."""
        return f"@{localpart}:{self.server_name}"

    def room(self, key: str) -> str:
        """Return a room's id. Raises UnknownRoom."""
        if key not in self.room_ids:
            raise UnknownRoom(key)
        return self.room_ids[key]

    def fill(self, value: Any) -> Any:
        """Return a copy with every reference in its strings replaced. Raises UnknownRoom."""
        if isinstance(value, str):
            return REFERENCE.sub(lambda m: self.server_name if m[3] else self._one(m[1], m[2]), value)
        if isinstance(value, dict):
            return {self.fill(key): self.fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        return value

    def _one(self, kind: str, name: str) -> str:
        return self.room(name) if kind == "room" else self.user(name)


def listed_children(blueprint: Blueprint, space: RoomBlueprint) -> list[str]:
    """Return the keys of the rooms that a Space lists: its children except archived ones."""
    return [key for key in space.children if not blueprint.room(key).archived]


def child_event(names: Names, key: str) -> dict[str, Any]:
    """Return the state event with which a Space lists one room."""
    return {"type": "m.space.child", "state_key": names.room(key), "content": {"via": [names.server_name]}}


def wanted_state(room: RoomBlueprint) -> list[dict[str, Any]]:
    """Return the state events that a room's creator writes, except name, topic and children.

    References are not filled in.
    """
    events = [
        {"type": state.type, "state_key": state.state_key, "content": state.content}
        for state in room.state
        if state.sender is None
    ]
    if room.encrypted:
        events.append({"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}})
    return events


def state_by_others(room: RoomBlueprint) -> list[tuple[str, dict[str, Any]]]:
    """Return the state events that others than the creator write, as (sender, event). References are not filled in."""
    return [
        (state.sender, {"type": state.type, "state_key": state.state_key, "content": state.content})
        for state in room.state
        if state.sender is not None
    ]


def tombstone(room: RoomBlueprint) -> dict[str, Any] | None:
    """Return the event that ends a room, if another replaces it. References are not filled in."""
    if room.replaced_by is None:
        return None
    content = {"body": "This room has been replaced", "replacement_room": f"${{room:{room.replaced_by}}}"}
    return {"type": "m.room.tombstone", "state_key": "", "content": content}


def create_room_body(
    blueprint: Blueprint, room: RoomBlueprint, names: Names, children: list[str], *, lists_creator: bool = False
) -> dict[str, Any]:
    """Return the body of `createRoom`. It holds as much as possible, so that no half-made room ever exists.

    `lists_creator`: the server makes rooms of a version before 12. There a creator who is not among the `users` has no
    power; from 12 on the server refuses one who is.
    """
    marker = {"type": SEED_MARKER, "state_key": "", "content": {"blueprint": blueprint.name, "key": room.key}}
    body: dict[str, Any] = {
        "preset": room.preset,
        "is_direct": room.direct,
        "invite": [names.user(name) for name in (*room.joining, *room.invited)],
        "initial_state": [
            marker,
            *(names.fill(event) for event in wanted_state(room)),
            *(child_event(names, key) for key in children),
        ],
    }
    if room.name is not None:
        body["name"] = names.fill(room.name)
    if room.topic is not None:
        body["topic"] = names.fill(room.topic)
    # The key: two rooms that one account makes in one millisecond with equal content can become one room.
    creation: dict[str, Any] = {SEED_MARKER: room.key, **({"type": "m.space"} if room.space else {})}
    for before in (one for one in blueprint.rooms if one.replaced_by == room.key):
        creation["predecessor"] = {"room_id": names.room(before.key)}
    body["creation_content"] = creation
    if room.room_version is not None:
        body["room_version"] = room.room_version
    if power := _power(room, names, lists_creator):
        body["power_level_content_override"] = power
    return body


def _power(room: RoomBlueprint, names: Names, lists_creator: bool) -> dict[str, Any]:
    power = room.power_levels.model_dump(exclude_none=True, exclude_defaults=True)
    if "users" in power:
        creator = {names.user(room.creator): 100} if lists_creator else {}
        power["users"] = creator | {names.user(name): level for name, level in power["users"].items()}
    return power
