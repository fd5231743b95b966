"""Each attempt to answer has a new transaction id, so after a crash the bot answers again."""

from __future__ import annotations

import asyncio
import uuid

from good import Bot, main

CAUGHT_BY = "killed-after-answer"
SAYS = "answered twice instead of once"


class AnswersAgain(Bot):
    def transaction_id(self, event: object) -> str:
        return uuid.uuid4().hex


if __name__ == "__main__":
    asyncio.run(main(AnswersAgain))
