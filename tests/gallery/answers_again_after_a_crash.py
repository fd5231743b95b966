"""Says a thing anew after a crash, because each attempt has a transaction id of its own."""

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
