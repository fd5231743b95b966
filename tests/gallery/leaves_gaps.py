"""Never fills a limited timeline: of many questions it sees the last ten, though it promises all."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "burst-while-down"
SAYS = "to say something with"


class LeavesGaps(Bot):
    """As the good one, which does not promise this."""


if __name__ == "__main__":
    asyncio.run(main(LeavesGaps))
