"""Drops its sync position after an unreadable sync, and so loses that sync's messages."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "broken-sync"
SAYS = "was never answered"
SAVED_BY = "picture-from-a-cache"


class StartsOver(Bot):
    async def failed_sync(self, response: object, failures: int) -> None:
        self.state["since"] = None


if __name__ == "__main__":
    asyncio.run(main(StartsOver))
