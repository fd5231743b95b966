"""After a start it ignores whatever its first sync with news brings, so the first question is lost."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "first-message-after-restart"
SAYS = "was never answered, though a later question was"


class IgnoresItsFirstSync(Bot):
    def __init__(self) -> None:
        super().__init__()
        self.restarted = self.state["since"] is not None

    async def handle(self, response: nio.SyncResponse) -> None:
        events = [event for info in response.rooms.join.values() for event in info.timeline.events]
        news = any(event.sender != self.client.user_id for event in events)
        if not (self.restarted and news):
            await super().handle(response)
        self.restarted = self.restarted and not news


if __name__ == "__main__":
    asyncio.run(main(IgnoresItsFirstSync))
