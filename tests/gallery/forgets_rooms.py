"""Knows only the rooms that it has joined since its start, and ignores all others."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "restart-keeps-rooms"
SAYS = "and answered none within"


class Forgets(Bot):
    def __init__(self) -> None:
        super().__init__()
        self.rooms: set[str] = set()

    async def invited(self, room_id: str, info: object) -> None:
        await super().invited(room_id, info)
        self.rooms.add(room_id)

    async def said(self, room_id: str, event: object) -> None:
        if room_id in self.rooms:
            await super().said(room_id, event)


if __name__ == "__main__":
    asyncio.run(main(Forgets))
