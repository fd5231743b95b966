"""Blueprints: people and rooms in YAML, checked before anything happens on a server.

Strings in `name`, `topic`, `state` and `messages` may contain references: `${room:KEY}` is a room's id,
`${user:NAME}` a person's, `${server}` the server name.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from greenroom.people.accounts import LOCALPART
from greenroom.yaml_files.values import RoomVersion

KEY_IN_FILE = re.compile(r"^([a-z0-9]|\$\{n\})([a-z0-9_.-]|\$\{n\})*$")
NAME = re.compile(r"^\w[\w .-]{0,59}$")  # at most 60 characters of 4 bytes: the note's file name has 255 bytes at most

MOST = 10_000  # rooms of one `repeat`
LARGEST = 2**53 - 1  # of an integer in a Matrix event (canonical JSON)
Count = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Level = Annotated[int, Field(strict=True, ge=-LARGEST, le=LARGEST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PersonBlueprint(_Strict):
    """An account. Without `password`, its password is derived from the homeserver's secret."""

    name: str = Field(description="localpart of the user id", json_schema_extra={"pattern": LOCALPART.pattern})
    displayname: str | None = Field(
        default=None, description="the name that other people see; without it the localpart"
    )
    password: str | None = Field(
        default=None, description="a fixed password, which anybody who reads the file knows; without it a random one"
    )

    @field_validator("name")
    @classmethod
    def _is_localpart(cls, name: str) -> str:
        if not LOCALPART.match(name):
            raise ValueError(f"{name!r} is not a localpart: lower-case letters, digits and ._=-/+ only")
        return name


class StateBlueprint(_Strict):
    """A state event. The room's creator writes it in `createRoom`, a `sender` writes it after joining."""

    type: str = Field(description="event type")
    state_key: str = Field(default="", description="state key; may contain references")
    sender: str | None = Field(default=None, description="name of the member who writes it; without it the creator")
    content: dict[str, Any] = Field(description="content of the event; its texts may contain references")


class MessageBlueprint(_Strict):
    """A message. A key in its content marks it, so that seeding sends it only once."""

    sender: str = Field(description="name of a person who is in the room, or was")
    body: str = Field(description="text; may contain references")
    msgtype: Literal["m.text", "m.notice", "m.emote"] = Field(default="m.text", description="kind of message")


class PowerBlueprint(_Strict):
    """Power levels that differ from the preset's. Never list the creator: room version 12 refuses that."""

    users: dict[str, Level] = Field(default={}, description="level of each person by name; the creator has every power")
    events: dict[str, Level] = Field(default={}, description="level that each type of event needs")
    users_default: Level | None = Field(default=None, description="level of everybody else")
    events_default: Level | None = Field(default=None, description="level that a message needs")
    state_default: Level | None = Field(default=None, description="level that a state event needs")
    invite: Level | None = Field(default=None, description="level that an invite needs")
    kick: Level | None = Field(default=None, description="level that a kick needs")
    ban: Level | None = Field(default=None, description="level that a ban needs")
    redact: Level | None = Field(default=None, description="level that the removal of other people's messages needs")


class RoomBlueprint(_Strict):
    """A room. Its `key` is its name in the blueprint."""

    key: str = Field(description="the room's name in this file", json_schema_extra={"pattern": KEY_IN_FILE.pattern})
    repeat: Count | str | None = Field(
        default=None,
        description="number of such rooms, or the variable that holds it; `${n}` in any text is 1, 2, 3, …",
    )
    creator: str = Field(description="name of the person who creates it, and is always a member")
    name: str | None = Field(default=None, description="the name that people see; may contain references")
    topic: str | None = Field(default=None, description="topic; may contain references")
    preset: Literal["private_chat", "trusted_private_chat", "public_chat"] = Field(
        default="private_chat", description="preset of `createRoom`"
    )
    space: bool = Field(default=False, description="the room is a Space")
    children: list[str] = Field(default=[], description="keys of the rooms that a Space lists, except archived ones")
    archived: bool = Field(default=False, description="no Space lists this room")
    direct: bool = Field(default=False, description="a chat of two people, recorded in the `m.direct` of both")
    encrypted: bool = Field(
        default=False, description="encryption is on; seeded messages are sent in plain text all the same"
    )
    members: list[str] = Field(default=[], description="people who are invited by `createRoom`, and join")
    invited: list[str] = Field(default=[], description="people who are invited by `createRoom`, and do not join")
    left: list[str] = Field(default=[], description="people who join, and leave when everything else is done")
    banned: list[str] = Field(default=[], description="people who join, and are banned when everything else is done")
    replaced_by: str | None = Field(
        default=None, description="key of the room that replaces this one: a tombstone here, a `predecessor` there"
    )
    room_version: RoomVersion | None = Field(default=None, description="room version; without it the blueprint's")
    power_levels: PowerBlueprint = Field(
        default=PowerBlueprint(), description="power levels that differ from the preset's"
    )
    state: list[StateBlueprint] = Field(default=[], description="further state events")
    messages: list[MessageBlueprint] = Field(default=[], description="messages, in order")

    @property
    def joining(self) -> list[str]:
        """Everybody who joins besides the creator, also those who are out of the room in the end."""
        return [*self.members, *self.left, *self.banned]

    @field_validator("key")
    @classmethod
    def _is_key(cls, key: str) -> str:
        if not KEY_IN_FILE.fullmatch(key):
            raise ValueError(f"{key!r} is not a key: lower-case letters, digits and _.- only")
        return key

    @model_validator(mode="after")
    def _is_numbered(self) -> Self:
        if self.repeat is not None and "${n}" not in self.key:
            raise ValueError(f"the key {self.key!r} of a repeated room needs a ${{n}}, or all have the same key")
        if self.repeat is None and "${n}" in self.key:
            raise ValueError(f"the key {self.key!r} has a ${{n}}, but the room has no `repeat`")
        return self


class Blueprint(_Strict):
    """Everything that one seeding creates."""

    version: Literal[1] = Field(description="version of this format")
    name: str = Field(
        description="name of the blueprint; seeded rooms are marked with it",
        json_schema_extra={"pattern": NAME.pattern},
    )
    description: str = Field(default="", description="a line for the reader")
    variables: dict[str, Count] = Field(
        default={}, description="numbers for `repeat`, which `--set NAME=NUMBER` overrides"
    )
    room_version: RoomVersion | None = Field(
        default=None, description="version of the rooms that name none; without it the homeserver's default"
    )
    people: list[PersonBlueprint] = Field(description="the accounts")
    rooms: list[RoomBlueprint] = Field(default=[], description="the rooms, in any order")

    @field_validator("name")
    @classmethod
    def _is_file_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name[:70]!r} is part of a file's name, so it has at most 60 letters, digits and ' _.-', "
                "and starts with a letter or digit"
            )
        return name

    def room(self, key: str) -> RoomBlueprint:
        """Return the room with that key."""
        return self._by_key[key]

    @cached_property
    def _by_key(self) -> dict[str, RoomBlueprint]:
        return {room.key: room for room in self.rooms}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that the blueprint says. Comments, layout and spelled-out defaults do not change it."""
        said = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def warnings(self) -> list[str]:
        """Return a line for each password that stands in the blueprint."""
        known = "is fixed in the blueprint: anybody who reads that file can log in"
        return [f"{person.name}'s password {known}" for person in self.people if person.password]


def schema_text() -> str:
    """Return the JSON Schema of blueprints. Editors check a file against it and complete its fields."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Blueprint.model_json_schema()}
    return json.dumps(schema, indent=2)
