"""Forgets its sync position and its answers, so it answers old questions again after every start."""

from __future__ import annotations

import asyncio
import uuid

from good import Bot, main

CAUGHT_BY = "restart-repeats-nothing"
SAYS = "was answered twice"


class Replays(Bot):
    def __init__(self) -> None:
        super().__init__()
        self.state.update(since=None, handled=[])

    def is_live(self) -> bool:
        return True

    def transaction_id(self, event: object) -> str:
        return uuid.uuid4().hex


if __name__ == "__main__":
    asyncio.run(main(Replays))
