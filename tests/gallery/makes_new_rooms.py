"""Keeps no list of its rooms, and creates a new one for its owner at every start."""

from __future__ import annotations

import asyncio
import os

from good import Bot, main

CAUGHT_BY = "restart-keeps-rooms"
SAYS = "invited its owner to 1 more room(s)"


class MakesNewRooms(Bot):
    async def log_in(self) -> None:
        restarted = "session" in self.state
        await super().log_in()
        if restarted:
            await self.client.room_create(name="Here I am again", invite=[os.environ["BOT_OWNER"]])


if __name__ == "__main__":
    asyncio.run(main(MakesNewRooms))
