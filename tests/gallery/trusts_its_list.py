"""Trusts its own list of rooms at the start, and crashes if it was kicked from one meanwhile."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "kicked-while-down"
SAYS = "has lost a room"


class TrustsItsList(Bot):
    async def log_in(self) -> None:
        await super().log_in()
        for room_id in self.state.get("rooms", []):
            members = await self.client.joined_members(room_id)
            if not isinstance(members, nio.JoinedMembersResponse):
                raise RuntimeError(f"has lost a room: {members}")

    async def invited(self, room_id: str, info: object) -> None:
        await super().invited(room_id, info)
        self.state["rooms"] = [*self.state.get("rooms", []), room_id]


if __name__ == "__main__":
    asyncio.run(main(TrustsItsList))
