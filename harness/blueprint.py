"""Blueprints: people and rooms written down in YAML, checked before anything is done with them.

Strings in `state`, `messages` and `name` may refer to what only the server can name: `${room:KEY}` is a room's id,
`${user:NAME}` a person's, `${server}` the server name.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.accounts import LOCALPART, seeded_password
from harness.errors import BlueprintError

KEY = re.compile(r"^[a-z0-9][a-z0-9_.-]*$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PersonBlueprint(_Strict):
    """An account. The password is readable and the same in every run unless one is given."""

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
    """A state event, written by the room's creator inside `createRoom`."""

    type: str
    state_key: str = ""
    content: dict[str, Any]


class MessageBlueprint(_Strict):
    """A message. It is recognised again by a key in its content, so it is sent once."""

    sender: str
    body: str
    msgtype: Literal["m.text", "m.notice", "m.emote"] = "m.text"


class PowerBlueprint(_Strict):
    """Power levels that differ from the preset's. The creator is never listed: room version 12 refuses that."""

    users: dict[str, int] = {}
    events: dict[str, int] = {}
    users_default: int | None = None
    events_default: int | None = None
    state_default: int | None = None
    invite: int | None = None
    kick: int | None = None
    ban: int | None = None
    redact: int | None = None


class RoomBlueprint(_Strict):
    """A room, known in the blueprint by its key."""

    key: str
    creator: str
    name: str | None = None
    topic: str | None = None
    preset: Literal["private_chat", "trusted_private_chat", "public_chat"] = "private_chat"
    space: bool = Field(False, description="the room is a Space")
    children: list[str] = Field([], description="keys of the rooms that a Space lists; archived ones are left out")
    archived: bool = Field(False, description="no Space lists this room")
    direct: bool = Field(False, description="a chat of two, recorded in the m.direct of both")
    encrypted: bool = False
    members: list[str] = Field([], description="invited by createRoom, and joined; the creator is one anyway")
    invited: list[str] = Field([], description="invited by createRoom, and left to decide")
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
    """Everything one seeding makes."""

    version: Literal[1]
    name: str
    description: str = ""
    people: list[PersonBlueprint]
    rooms: list[RoomBlueprint] = []

    def room(self, key: str) -> RoomBlueprint:
        """Find a room by its key."""
        return next(room for room in self.rooms if room.key == key)

    def password(self, person: str) -> str:
        """Give somebody's password."""
        found = next(p for p in self.people if p.name == person)
        return found.password or seeded_password(self.name, person)


def packaged_blueprints() -> list[str]:
    """List the blueprints that come with Greenroom."""
    folder = resources.files("harness") / "blueprints"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_blueprint(name_or_path: str) -> Blueprint:
    """Read a packaged blueprint by its name, or one of your own by its path."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in name_or_path:
        try:
            return parse_blueprint(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise BlueprintError(str(path), "", f"cannot be read: {reason}") from None
    if name_or_path not in packaged_blueprints():
        known = ", ".join(packaged_blueprints())
        raise BlueprintError(
            name_or_path, "", f"no such blueprint; there are {known}, or a .yaml file of yours by path"
        )
    packaged = resources.files("harness") / "blueprints" / f"{name_or_path}.yaml"
    return parse_blueprint(packaged.read_text(), f"{name_or_path}.yaml")


def parse_blueprint(text: str, source: str) -> Blueprint:
    """Read and check a blueprint. Raises BlueprintError that names the path of the first mistake."""
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BlueprintError(source, where, f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise BlueprintError(source, "", f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise BlueprintError(source, "", "must be a mapping with version, name, people and rooms")
    try:
        blueprint = Blueprint.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise BlueprintError(source, _dotted(first["loc"]), _plain(first["msg"])) from None
    from harness.blueprint_checks import mistakes  # it needs the models above

    for where, problem in mistakes(blueprint):
        raise BlueprintError(source, where, problem)
    return blueprint


def _dotted(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "there is no such field")
