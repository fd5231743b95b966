"""Join a room to which somebody on another homeserver has invited us, perhaps a moment ago."""

from __future__ import annotations

import nio

from greenroom.errors import NotMet
from greenroom.waiting import NotYet, until

STORED_S = 5.0  # for a busy machine; it is a matter of milliseconds


async def join_room(client: nio.AsyncClient, room_id: str) -> object:
    """Join a room. Return the homeserver's answer.

    An invite from another homeserver arrives before that one has stored it, and until then it refuses a join as if
    there were no invite. So such a refusal is no answer yet. https://github.com/element-hq/synapse/issues/2367
    """
    inviter = str(getattr(client.invited_rooms.get(room_id), "inviter", None) or client.user_id)
    from_elsewhere = inviter.partition(":")[2] != str(client.user_id).partition(":")[2]

    async def join() -> object:
        answer = await client.join(room_id)
        too_early = from_elsewhere and getattr(answer, "status_code", "") == "M_FORBIDDEN"
        return NotYet("it refuses the join") if too_early else answer

    try:
        return await until(join, f"the homeserver of {inviter} to store its invite", timeout_s=STORED_S)
    except NotMet:
        return await client.join(room_id)
