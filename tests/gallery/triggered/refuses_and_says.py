"""Refuses an alert that it cannot send at once, but sends it later all the same."""

from __future__ import annotations

import asyncio

from aiohttp import web
from good import Bot, main

CAUGHT_BY = "trigger-while-gateway-errors"
SAYS = "(HTTP 503) was refused, and said all the same"


class RefusesAndSays(Bot):
    async def hook(self, request: web.Request) -> web.Response:
        accepted = await super().hook(request)
        await asyncio.sleep(0.3)
        return web.Response(status=503) if self.queue else accepted


if __name__ == "__main__":
    asyncio.run(main(RefusesAndSays))
