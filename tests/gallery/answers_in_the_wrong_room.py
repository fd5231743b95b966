"""Remembers one room, the first that it joined, and answers there whatever it is asked elsewhere."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "answers"
SAYS = "the bot did not answer its first question"


class AnswersInTheWrongRoom(Bot):
    async def invited(self, room_id: str, info: nio.InviteInfo) -> None:
        await super().invited(room_id, info)
        self.state.setdefault("room", room_id)
        self.save()

    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        await super().answer(self.state.get("room", room_id), event, text)


if __name__ == "__main__":
    asyncio.run(main(AnswersInTheWrongRoom))
