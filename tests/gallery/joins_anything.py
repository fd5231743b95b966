"""Accepts invites from everybody."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "invite-from-a-stranger"
SAYS = "that must never happen"


class JoinsAnything(Bot):
    async def invited(self, room_id: str, info: object) -> None:
        await self.client.join(room_id)


if __name__ == "__main__":
    asyncio.run(main(JoinsAnything))
