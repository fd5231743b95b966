"""Answers notices too. Two such bots in a room would answer each other for ever."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "ignores-notices"
SAYS = "answered a notice"


class AnswersNotices(Bot):
    async def handle(self, response: nio.SyncResponse) -> None:
        live = self.is_live()
        await super().handle(response)
        for room_id, info in response.rooms.join.items():
            for event in info.timeline.events if live else ():
                if isinstance(event, nio.RoomMessageNotice) and event.sender != self.client.user_id:
                    await self.said(room_id, event)


if __name__ == "__main__":
    asyncio.run(main(AnswersNotices))
