"""What is on a server already, of one blueprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEED_MARKER = "dev.greenroom.seed"  # state event in each seeded room; the same key marks each seeded message


@dataclass(frozen=True)
class RoomView:
    """A seeded room as its creator sees it."""

    room_id: str
    state: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    messages: frozenset[int] = frozenset()  # indexes of the blueprint's messages that are there

    def membership(self, user_id: str) -> str | None:
        """Give somebody's membership."""
        content = self.state.get(("m.room.member", user_id))
        return None if content is None else content.get("membership")


@dataclass(frozen=True)
class ServerView:
    """The accounts (by localpart), rooms (by key) and `m.direct` contents (by localpart) that are there."""

    people: frozenset[str] = frozenset()
    rooms: Mapping[str, RoomView] = field(default_factory=dict)
    direct: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
