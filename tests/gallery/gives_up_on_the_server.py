"""Ends when the homeserver is unreachable for a moment."""

from __future__ import annotations

import asyncio
import sys

from good import Bot, main

CAUGHT_BY = "server-restart"
SAYS = "the homeserver is gone"


class GivesUp(Bot):
    async def failed_sync(self, response: object, failures: int) -> None:
        sys.exit("the homeserver is gone")


if __name__ == "__main__":
    asyncio.run(main(GivesUp))
