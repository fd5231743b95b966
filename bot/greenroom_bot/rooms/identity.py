"""The state event that says what a room is to the bot: `dev.greenroom.chat`.

It is written in `createRoom.initial_state`, so no room of the bot ever exists without it, and nothing else is believed
about a room's identity. Only power level 100 may change it. The same rule holds in room version 12, where the creator
has infinite power and may not be listed.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.titles import clean_title

IDENTITY_TYPE = "dev.greenroom.chat"
IDENTITY_POWER = 100
ID_MAX = 255
"""Characters of a Matrix id at most. An identity with a longer one would make answers that no event can hold."""
VERSION: Literal[1] = 1

Kind = Literal["space", "chat"]
NotEmpty = StringConstraints(min_length=1)
Short = StringConstraints(min_length=1, max_length=ID_MAX)


class MalformedIdentity(ValueError):
    """The event's content is not of the shape that the bot writes; the message names the first key that is wrong."""


def _clean(title: object) -> object:
    return clean_title(title) if isinstance(title, str) else title


class Identity(BaseModel):
    """What a room is: `chat_id` is unique per `owner`; `request` is the event id that asked for the room."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    v: Literal[1] = VERSION
    kind: Kind
    chat_id: Annotated[ChatId, Short]
    owner: Annotated[UserId, StringConstraints(pattern="^@", max_length=ID_MAX)]
    space_id: Annotated[RoomId | None, AfterValidator(lambda room_id: room_id or None)]
    instance: Annotated[str, NotEmpty]
    request: Annotated[str, Short]
    title: Annotated[str, BeforeValidator(_clean)] = ""
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
                f"{key} is {reprlib.repr(content.get(key))}" + (f", not {VERSION}" if key == "v" else "")
            ) from None


def initial_state_event(identity: Identity) -> dict[str, Any]:
    """Return the event for `createRoom.initial_state`."""
    return {"type": IDENTITY_TYPE, "state_key": "", "content": identity.content()}
