"""Starts without a sync position, so it never answers questions from its downtime, though it promises to."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "message-while-down"
SAYS = "was never answered"
SAVED_BY = "picture-from-a-cache"


class SkipsTheBacklog(Bot):
    def __init__(self) -> None:
        super().__init__()
        self.state["since"] = None


if __name__ == "__main__":
    asyncio.run(main(SkipsTheBacklog))
