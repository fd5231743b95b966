"""Takes its own messages for questions, so it answers itself for ever."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "answers"
SAYS = "instead of once"


class TalksToItself(Bot):
    async def handle(self, response: nio.SyncResponse) -> None:
        live = self.is_live()
        await super().handle(response)
        for room_id, info in response.rooms.join.items():
            for event in info.timeline.events if live else ():
                if isinstance(event, nio.RoomMessageNotice) and event.sender == self.client.user_id:
                    await self.answer(room_id, event, event.body)


if __name__ == "__main__":
    asyncio.run(main(TalksToItself))
