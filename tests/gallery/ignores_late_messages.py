"""Takes a message that is older than the newest one it has seen for one that it has handled, and ignores it."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "other-server-away"
SAYS = "was never answered"


class IgnoresLateMessages(Bot):
    newest = 0  # in ms

    async def handle(self, response: nio.SyncResponse) -> None:
        for info in response.rooms.join.values():
            info.timeline.events = [event for event in info.timeline.events if self.is_new(event)]
        await super().handle(response)

    def is_new(self, event: nio.Event) -> bool:
        late = event.server_timestamp < self.newest
        self.newest = max(self.newest, event.server_timestamp)
        return not late


if __name__ == "__main__":
    asyncio.run(main(IgnoresLateMessages))
