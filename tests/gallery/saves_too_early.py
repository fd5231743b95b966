"""Saves its sync position before it handles the sync, so a crash in between loses the question."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main

CAUGHT_BY = "killed-before-answer"
SAYS = "was never answered"


class SavesTooEarly(Bot):
    async def handle(self, response: nio.SyncResponse) -> None:
        live = self.is_live()
        self.state["since"] = response.next_batch
        self.save()
        if live:
            await super().handle(response)


if __name__ == "__main__":
    asyncio.run(main(SavesTooEarly))
