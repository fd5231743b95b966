"""Two handlers send each alert, as after a second registration of the same hook."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "says"
SAYS = "was said twice instead of once"


class SaysItTwice(Bot):
    async def deliver(self, alert: dict[str, str]) -> None:
        await super().deliver(alert)
        await super().deliver({**alert, "id": f"{alert['id']}-again"})


if __name__ == "__main__":
    asyncio.run(main(SaysItTwice))
