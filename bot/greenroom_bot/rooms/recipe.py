"""What a room of the bot is made from: the body of `createRoom`, with the identity and the power of everybody in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from greenroom_bot.matrix.ids import UserId, server_of
from greenroom_bot.rooms.identity import IDENTITY_POWER, IDENTITY_TYPE, Identity, initial_state_event
from greenroom_bot.rooms.view import CREATORS_HAVE_ALL_POWER

OWNER_POWER = 10
"""The owner may rename the room and change its looks; a guest, who has 0, may not."""
LOOKS = ("m.room.name", "m.room.topic", "m.room.avatar")
GUARDED = ("m.room.power_levels", "m.room.server_acl", "m.room.encryption", "m.room.history_visibility")


def create_body(identity: Identity, me: UserId, *, room_version: str | None, encrypted: bool) -> dict[str, Any]:
    """Return the body of `createRoom`. `room_version` None: the homeserver takes its default, which is not known."""
    state = [initial_state_event(identity)]
    if identity.space_id:
        parent = {"via": [server_of(me)], "canonical": True}
        state.append({"type": "m.space.parent", "state_key": identity.space_id, "content": parent})
    if encrypted:
        algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
        state.append({"type": "m.room.encryption", "state_key": "", "content": algorithm})
    return {
        "preset": "private_chat",
        "name": identity.title,
        "invite": [identity.owner],
        "initial_state": state,
        "power_level_content_override": power_levels(me, identity.owner, room_version),
        **({"room_version": room_version} if room_version else {}),
        "creation_content": {
            IDENTITY_TYPE: {"request": identity.request, "kind": identity.kind},  # no two rooms are alike
            **({"type": "m.space"} if identity.kind == "space" else {}),
        },
    }


def power_levels(me: UserId, owner: UserId, room_version: str | None) -> dict[str, Any]:
    """Return `power_level_content_override` for a room of the bot.

    Servers replace the `events` and `users` maps rather than merge them, so all of each is given. From version 12 on a
    listed creator is refused; before, a creator who is not listed loses all power. So without a known version there
    are no `users`, and the owner renames a room with `!rename`.
    """
    creator = {me: IDENTITY_POWER} if int(room_version or CREATORS_HAVE_ALL_POWER) < CREATORS_HAVE_ALL_POWER else {}
    return {
        "events": {
            IDENTITY_TYPE: IDENTITY_POWER,
            **dict.fromkeys(GUARDED, 100),
            "m.room.tombstone": 150,  # the spec's own value from version 12 on; nobody but the creator upgrades
            **dict.fromkeys(LOOKS, OWNER_POWER if room_version else 100),
        },
        **({"users": {**creator, owner: OWNER_POWER}} if room_version else {}),
    }


def default_version(capabilities: Mapping[str, Any]) -> str | None:
    """Return the version of new rooms from the answer of `/capabilities`, None unless that is a number."""
    found: Any = capabilities
    for key in ("capabilities", "m.room_versions", "default"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) and re.fullmatch("[1-9][0-9]{0,3}", found) else None
