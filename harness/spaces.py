"""A Space with everything below it, as the server tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from harness.matrix_api import MatrixApi

HIERARCHY = "/_matrix/client/v1/rooms/{}/hierarchy"  # never under /v3


@dataclass(frozen=True)
class SpaceTree:
    """A room or Space, with the children that this account may know of."""

    room_id: str
    name: str | None
    is_space: bool
    children: tuple[SpaceTree, ...] = ()

    def rooms(self) -> Iterator[SpaceTree]:
        """Walk through everything below, parents before their children."""
        for one in self.children:
            yield one
            yield from one.rooms()

    def __str__(self) -> str:
        below = "".join("\n  " + line for one in self.children for line in str(one).splitlines())
        return f"{self.name or self.room_id}{'/' if self.is_space else ''}{below}"


async def read_space_tree(api: MatrixApi, room_id: str, token: str) -> SpaceTree:
    """Ask the server for a Space, page by page. A Space that holds itself is listed once per path."""
    found: dict[str, Any] = {}
    since = ""
    while True:
        params = {"limit": "100", **({"from": since} if since else {})}
        answer = await api.call("GET", HIERARCHY.format(quote(room_id, safe="")), token=token, params=params)
        found |= {room["room_id"]: room for room in answer["rooms"]}
        since = answer.get("next_batch", "")
        if not since:
            return _tree(room_id, found, ())


def _tree(room_id: str, found: dict[str, Any], above: tuple[str, ...]) -> SpaceTree:
    room = found[room_id]
    below = [
        child["state_key"]
        for child in room.get("children_state", ())
        if child["content"].get("via") and child["state_key"] in found and child["state_key"] not in (*above, room_id)
    ]
    children = tuple(_tree(one, found, (*above, room_id)) for one in below)
    return SpaceTree(room_id, room.get("name"), room.get("room_type") == "m.space", children)
