"""The state event that says what a room is to us: ``dev.greenroom.chat``.

It is written in ``createRoom.initial_state``, so no room of ours ever exists without it, and it is the only thing
believed about a room's identity. Only power level 100 may change it; room version 12, where the creator's power is
infinite and may not be listed, keeps to the same rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId

IDENTITY_TYPE = "dev.greenroom.chat"
IDENTITY_POWER = 100
VERSION = 1

Kind = Literal["space", "chat"]


class MalformedIdentity(ValueError):
    """The event's content is not of the shape that we write; the message names the first key that is wrong."""


@dataclass(frozen=True)
class Identity:
    """What a room is: ``chat_id`` is unique per ``owner``; ``request`` is the event id that asked for the room."""

    kind: Kind
    chat_id: ChatId
    owner: UserId
    space_id: RoomId | None
    instance: str
    request: str
    title: str = ""
    archived: bool = False

    def content(self) -> dict[str, Any]:
        """Return the event's content as it goes onto the wire."""
        return {"v": VERSION, **asdict(self)}

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Identity:
        """Read an event's content. Raises MalformedIdentity; unknown extra keys are let through.

        A higher ``v`` is malformed to us: a newer Greenroom wrote it, and guessing would be worse than saying so.
        """
        if content.get("v") != VERSION:
            raise MalformedIdentity(f"v is {content.get('v')!r}, not {VERSION}")
        if content.get("kind") not in ("space", "chat"):
            raise MalformedIdentity(f"kind is {content.get('kind')!r}")
        for key in ("chat_id", "owner", "instance", "request"):
            if not isinstance(content.get(key), str) or not content[key]:
                raise MalformedIdentity(f"{key} is {content.get(key)!r}")
        if not content["owner"].startswith("@"):
            raise MalformedIdentity(f"owner is {content['owner']!r}")
        space_id, title, archived = content.get("space_id"), content.get("title", ""), content.get("archived", False)
        if not (space_id is None or isinstance(space_id, str)):
            raise MalformedIdentity(f"space_id is {space_id!r}")
        if not isinstance(title, str) or not isinstance(archived, bool):
            raise MalformedIdentity(f"title is {title!r}, archived is {archived!r}")
        return cls(
            kind=content["kind"],
            chat_id=ChatId(content["chat_id"]),
            owner=UserId(content["owner"]),
            space_id=RoomId(space_id) if space_id else None,
            instance=content["instance"],
            request=content["request"],
            title=title,
            archived=archived,
        )


def initial_state_event(identity: Identity) -> dict[str, Any]:
    """Return the event for ``createRoom.initial_state``."""
    return {"type": IDENTITY_TYPE, "state_key": "", "content": identity.content()}


def power_levels_override() -> dict[str, Any]:
    """Return ``power_level_content_override`` for a room of ours.

    The whole ``events`` map is given because servers replace it rather than merge it. The owner may rename the room
    and change its looks; what the room *is* stays with the bot. No ``users``: version 12 refuses a listed creator.
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
