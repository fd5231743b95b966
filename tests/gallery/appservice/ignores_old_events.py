"""It takes an event that comes late for history, and ignores it."""

from __future__ import annotations

import time
from typing import Any

from good_service import Service, main

CAUGHT_BY = "transaction-refused"
SAYS = "was never answered"
OLD_S = 1.9  # the homeserver tries again after 2 s


class IgnoresOldEvents(Service):
    async def handle(self, event: dict[str, Any]) -> None:
        age_s = time.time() - event["origin_server_ts"] / 1000
        if event["type"] != "m.room.message" or age_s < OLD_S:
            await super().handle(event)


if __name__ == "__main__":
    main(IgnoresOldEvents)
