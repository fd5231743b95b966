"""Each attempt has a new transaction id, so after a lost response the same alert is there twice."""

from __future__ import annotations

import asyncio
import uuid

from good import Bot, main

CAUGHT_BY = "lost-response"
SAYS = "instead of once"


class NewIdPerAttempt(Bot):
    def transaction_id(self, alert: dict[str, str]) -> str:
        return uuid.uuid4().hex


if __name__ == "__main__":
    asyncio.run(main(NewIdPerAttempt))
