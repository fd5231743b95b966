"""Crashes when somebody kicks it from a room."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "kicked"
SAYS = "KeyError"


class DiesOnAKick(Bot):
    async def left(self, room_id: str, info: object) -> None:
        raise KeyError(room_id)


if __name__ == "__main__":
    asyncio.run(main(DiesOnAKick))
