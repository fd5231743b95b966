"""The state event that says what a room is to the bot: `dev.greenroom.chat`.

It is written in `createRoom.initial_state`, so no room of the bot ever exists without it, and nothing else is believed
about a room's identity. Only power level 100 may change it. The same rule holds in room version 12, where the creator
has infinite power and may not be listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId

IDENTITY_TYPE = "dev.greenroom.chat"
IDENTITY_POWER = 100
VERSION: Literal[1] = 1

Kind = Literal["space", "chat"]
NotEmpty = StringConstraints(min_length=1)


class MalformedIdentity(ValueError):
    """The event's content is not of the shape that the bot writes; the message names the first key that is wrong."""


class Identity(BaseModel):
    """What a room is: `chat_id` is unique per `owner`; `request` is the event id that asked for the room."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    v: Literal[1] = VERSION
    kind: Kind
    chat_id: Annotated[ChatId, NotEmpty]
    owner: Annotated[UserId, StringConstraints(pattern="^@")]
    space_id: Annotated[RoomId | None, AfterValidator(lambda room_id: room_id or None)]
    instance: Annotated[str, NotEmpty]
    request: Annotated[str, NotEmpty]
    title: str = ""
    archived: bool = False

    def content(self) -> dict[str, Any]:
        """Return the event's content as it goes onto the wire."""
        return self.model_dump()

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Identity:
        """Read an event's content; unknown keys are ignored. Raises MalformedIdentity.

        A higher `v` is malformed: a newer Greenroom wrote it, and its meaning is not known here. An absent one is, too.
        """
        try:
            return cls.model_validate({"v": None, "space_id": None, **content})
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
            raise MalformedIdentity(
                f"{key} is {content.get(key)!r}" + (f", not {VERSION}" if key == "v" else "")
            ) from None


def initial_state_event(identity: Identity) -> dict[str, Any]:
    """Return the event for `createRoom.initial_state`."""
    return {"type": IDENTITY_TYPE, "state_key": "", "content": identity.content()}


def power_levels_override() -> dict[str, Any]:
    """Return `power_level_content_override` for a room of the bot.

    Servers replace the `events` map rather than merge it, so all of it is given. The owner may rename the room and
    change its looks; the bot alone says what the room is. There is no `users`: version 12 refuses a listed creator.
    """
    guarded = ("m.room.power_levels", "m.room.server_acl", "m.room.encryption", "m.room.history_visibility")
    return {
        "events": {
            IDENTITY_TYPE: IDENTITY_POWER,
            **dict.fromkeys(guarded, 100),
            "m.room.tombstone": 150,  # the spec's own value from version 12 on; nobody but the creator upgrades
            **dict.fromkeys(("m.room.name", "m.room.topic", "m.room.avatar"), 0),
        }
    }
