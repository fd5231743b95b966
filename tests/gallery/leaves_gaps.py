"""Never fills a limited timeline: of many questions it sees only the last ten, though it promises to answer all."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "burst-while-down"
SAYS = "was never answered"


class LeavesGaps(Bot):
    """The good bot, which does not promise this scenario."""


if __name__ == "__main__":
    asyncio.run(main(LeavesGaps))
