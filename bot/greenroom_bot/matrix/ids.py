"""The Matrix spec's identifiers as distinct types, so that a room id cannot be passed where a user id is meant."""

from typing import NewType

RoomId = NewType("RoomId", str)
UserId = NewType("UserId", str)
EventId = NewType("EventId", str)
ChatId = NewType("ChatId", str)
"""A person's logical chat: `C1`, `C2`, … (`space` for their Space)."""


def server_of(user_id: str) -> str:
    """Return the server name of a user id (everything after the first colon; it may hold a port)."""
    return user_id.partition(":")[2]


def localpart_of(user_id: str) -> str:
    """Return `alice` of `@alice:greenroom.test`."""
    return user_id.removeprefix("@").partition(":")[0]
