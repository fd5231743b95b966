"""It listens before it has loaded its rooms, and loses the messages that come meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from good_service import ME, Service, main

CAUGHT_BY = "first-message-after-restart"
SAYS = "was never answered"
LOADS_S = 2.5  # the homeserver tries again after 2 s


class StartsSlowly(Service):
    has_started = False

    def app(self) -> web.Application:
        app = super().app()
        app.cleanup_ctx.append(self.loading)
        return app

    async def loading(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.load())
        yield
        task.cancel()

    async def load(self) -> None:
        ends = time.monotonic() + LOADS_S
        while self.state["rooms"] and time.monotonic() < ends:
            await self.ask("GET", "/account/whoami", ME, {})
            await asyncio.sleep(0.2)
        self.has_started = True

    async def handle(self, event: dict[str, Any]) -> None:
        if self.has_started or event["type"] != "m.room.message":
            await super().handle(event)


if __name__ == "__main__":
    main(StartsSlowly)
