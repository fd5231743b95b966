"""Retries a failed sync at once. With a dead token, that means hundreds of requests a second."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "dead-token"
SAYS = "requests with a dead token within"


class Spins(Bot):
    async def failed_sync(self, response: object, failures: int) -> None:
        pass


if __name__ == "__main__":
    asyncio.run(main(Spins))
