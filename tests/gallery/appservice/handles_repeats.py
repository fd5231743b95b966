"""It ignores the ids of transactions, and sends each answer as a new message: a repeated transaction counts twice."""

from __future__ import annotations

import uuid
from typing import Any

from good_service import Service, main

CAUGHT_BY = "transaction-repeated"
SAYS = "was answered twice instead of once"


class HandlesRepeats(Service):
    def is_known(self, transaction: str) -> bool:
        return False

    async def handle(self, event: dict[str, Any]) -> None:
        self.state["handled"] = []
        await super().handle({**event, "event_id": uuid.uuid4().hex})


if __name__ == "__main__":
    main(HandlesRepeats)
