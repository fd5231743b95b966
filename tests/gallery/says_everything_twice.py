"""Answers each question twice, as a bot with two callbacks does."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "answers"
SAYS = "answered twice instead of once"


class SaysEverythingTwice(Bot):
    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        await super().answer(room_id, event, text)
        await self.client.room_send(room_id, "m.room.message", {"msgtype": "m.notice", "body": text})


if __name__ == "__main__":
    asyncio.run(main(SaysEverythingTwice))
