"""Blueprints: people and rooms in YAML, checked before anything happens on a server.

Strings in `name`, `topic`, `state` and `messages` may contain references: `${room:KEY}` is a room's id,
`${user:NAME}` a person's, `${server}` the server name.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from greenroom.people.accounts import LOCALPART

KEY = re.compile(r"^[a-z0-9][a-z0-9_.-]*$")
NAME = re.compile(r"^\w[\w .-]{0,59}$")  # at most 60 characters of 4 bytes: the note's file name has 255 bytes at most

LARGEST = 2**53 - 1  # of an integer in a Matrix event (canonical JSON)
Level = Annotated[int, Field(strict=True, ge=-LARGEST, le=LARGEST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PersonBlueprint(_Strict):
    """An account. Without `password`, its password is derived from the homeserver's secret."""

    name: str = Field(description="localpart of the user id")
    displayname: str | None = None
    password: str | None = None

    @field_validator("name")
    @classmethod
    def _is_localpart(cls, name: str) -> str:
        if not LOCALPART.match(name):
            raise ValueError(f"{name!r} is not a localpart: lower-case letters, digits and ._=-/+ only")
        return name


class StateBlueprint(_Strict):
    """A state event that the room's creator writes in `createRoom`."""

    type: str
    state_key: str = ""
    content: dict[str, Any]


class MessageBlueprint(_Strict):
    """A message. A key in its content marks it, so that seeding sends it only once."""

    sender: str
    body: str
    msgtype: Literal["m.text", "m.notice", "m.emote"] = "m.text"


class PowerBlueprint(_Strict):
    """Power levels that differ from the preset's. Never list the creator: room version 12 refuses that."""

    users: dict[str, Level] = {}
    events: dict[str, Level] = {}
    users_default: Level | None = None
    events_default: Level | None = None
    state_default: Level | None = None
    invite: Level | None = None
    kick: Level | None = None
    ban: Level | None = None
    redact: Level | None = None


class RoomBlueprint(_Strict):
    """A room. Its `key` is its name in the blueprint."""

    key: str
    creator: str
    name: str | None = None
    topic: str | None = None
    preset: Literal["private_chat", "trusted_private_chat", "public_chat"] = "private_chat"
    space: bool = Field(False, description="the room is a Space")
    children: list[str] = Field([], description="keys of the rooms that a Space lists, except archived ones")
    archived: bool = Field(False, description="no Space lists this room")
    direct: bool = Field(False, description="a chat of two people, recorded in the m.direct of both")
    encrypted: bool = False
    members: list[str] = Field([], description="invited by createRoom, and joined; the creator is always a member")
    invited: list[str] = Field([], description="invited by createRoom, but not joined")
    power_levels: PowerBlueprint = PowerBlueprint()
    state: list[StateBlueprint] = []
    messages: list[MessageBlueprint] = []

    @field_validator("key")
    @classmethod
    def _is_key(cls, key: str) -> str:
        if not KEY.match(key):
            raise ValueError(f"{key!r} is not a key: lower-case letters, digits and _.- only")
        return key


class Blueprint(_Strict):
    """Everything that one seeding creates."""

    version: Literal[1]
    name: str
    description: str = ""
    people: list[PersonBlueprint]
    rooms: list[RoomBlueprint] = []

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
        return next(room for room in self.rooms if room.key == key)

    def warnings(self) -> list[str]:
        """Return a line for each password that stands in the blueprint."""
        known = "is fixed in the blueprint: anybody who reads that file can log in"
        return [f"{person.name}'s password {known}" for person in self.people if person.password]
