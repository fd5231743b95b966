"""After a sync that it cannot read it starts from the present, and what that sync brought is lost."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "broken-sync"
SAYS = "to say something with"


class StartsOver(Bot):
    async def failed_sync(self, response: object, failures: int) -> None:
        self.state["since"] = None


if __name__ == "__main__":
    asyncio.run(main(StartsOver))
