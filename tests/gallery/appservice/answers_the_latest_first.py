"""It collects questions until none has come for a second, and then answers the latest first."""

from __future__ import annotations

import asyncio
from typing import Any

from good_service import Service, main

CAUGHT_BY = "order-while-down"
SAYS = ", which was asked first"
QUIET_S = 1.0


class AnswersTheLatestFirst(Service):
    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[dict[str, Any], str]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    async def answer(self, event: dict[str, Any], text: str) -> None:
        self.waiting.append((event, text))
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(QUIET_S, self.begin)

    def begin(self) -> None:
        self.task = asyncio.ensure_future(self.answer_all())

    async def answer_all(self) -> None:
        while self.waiting:
            await super().answer(*self.waiting.pop())


if __name__ == "__main__":
    main(AnswersTheLatestFirst)
