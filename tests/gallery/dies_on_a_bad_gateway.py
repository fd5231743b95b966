"""Expects JSON in every response, and crashes on a reverse proxy's page of HTML."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "gateway-errors"
SAYS = "cannot read what the homeserver says"


class DiesOnABadGateway(Bot):
    async def failed_sync(self, response: object, failures: int) -> None:
        if isinstance(response, nio.SyncError):
            raise ValueError(f"cannot read what the homeserver says: {response}")
        await super().failed_sync(response, failures)


if __name__ == "__main__":
    asyncio.run(main(DiesOnABadGateway))
