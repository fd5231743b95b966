"""Without its database it leaves every room, though it promises to answer there."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "state-lost"
SAYS = "the restart changed room members"


class LeavesUnknownRooms(Bot):
    async def log_in(self) -> None:
        known = self.state.get("rooms", [])
        await super().log_in()
        for room_id in (await self.client.joined_rooms()).rooms:
            if room_id not in known:
                await self.client.room_leave(room_id)

    async def invited(self, room_id: str, info: object) -> None:
        await super().invited(room_id, info)
        self.state["rooms"] = [*self.state.get("rooms", []), room_id]


if __name__ == "__main__":
    asyncio.run(main(LeavesUnknownRooms))
