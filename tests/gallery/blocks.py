"""Blocks its whole process in a handler, so it receives a question and then does nothing more."""

from __future__ import annotations

import asyncio
import time

import nio
from good import Bot, main

CAUGHT_BY = "answers"
SAYS = "the bot did not answer its first question"


class Blocks(Bot):
    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        time.sleep(3600)  # noqa: ASYNC251 - the fault


if __name__ == "__main__":
    asyncio.run(main(Blocks))
