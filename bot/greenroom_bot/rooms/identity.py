"""The identity of a room: the state event `dev.greenroom.chat`, which says what the room is to the bot.

`createRoom.initial_state` carries the event, so no room of ours ever exists without it. The bot believes nothing else
about a room's identity. Only power level 100 may change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId

IDENTITY_TYPE = "dev.greenroom.chat"
IDENTITY_POWER = 100
VERSION = 1

Kind = Literal["space", "chat"]
NOT_EMPTY = Field(min_length=1)


class MalformedIdentity(ValueError):
    """The event's content is not what the bot writes. The message names the first wrong key."""


class Identity(BaseModel):
    """What a room is: `chat_id` is unique per `owner`; `request` is the event id that asked for the room."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    kind: Kind
    chat_id: Annotated[ChatId, NOT_EMPTY]
    owner: Annotated[UserId, Field(pattern="^@")]
    instance: Annotated[str, NOT_EMPTY]
    request: Annotated[str, NOT_EMPTY]
    space_id: RoomId | None = None
    title: str = ""
    archived: bool = False

    def content(self) -> dict[str, Any]:
        """Return the event's content as it goes onto the wire."""
        return {"v": VERSION, **self.model_dump()}

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Identity:
        """Return the identity in an event's content. Raises MalformedIdentity; unknown extra keys do no harm.

        A higher `v` is malformed: a newer Greenroom wrote it, and guessing would be worse than saying so.
        """
        if content.get("v") != VERSION:
            raise MalformedIdentity(f"v is {content.get('v')!r}, not {VERSION}")
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            key = error.errors(include_url=False)[0]["loc"][0]
            raise MalformedIdentity(f"{key} is {content.get(str(key))!r}") from error


def initial_state_event(identity: Identity) -> dict[str, Any]:
    """Return the event for `createRoom.initial_state`."""
    return {"type": IDENTITY_TYPE, "state_key": "", "content": identity.content()}


def power_levels_override() -> dict[str, Any]:
    """Return `power_level_content_override` for a room of ours.

    It lists the whole `events` map, because servers replace the map and do not merge it. The owner may rename the room
    and change its looks; only the bot may change what the room is. There is no `users`: room version 12 gives the
    creator infinite power and refuses to see the creator listed.
    """
    guarded = ("m.room.power_levels", "m.room.server_acl", "m.room.encryption", "m.room.history_visibility")
    return {
        "events": {
            IDENTITY_TYPE: IDENTITY_POWER,
            **dict.fromkeys(guarded, 100),
            "m.room.tombstone": 150,  # the spec's own value from version 12 on: only the creator upgrades the room
            **dict.fromkeys(("m.room.name", "m.room.topic", "m.room.avatar"), 0),
        }
    }
