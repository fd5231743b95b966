"""Ignores SIGTERM, so that only SIGKILL ends it."""

from __future__ import annotations

import asyncio
import signal

from good import Bot, main

CAUGHT_BY = "stops-when-asked"
SAYS = "still running 10 s after SIGTERM"


class DoesNotStop(Bot):
    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print, "not now")
        await super().run()


if __name__ == "__main__":
    asyncio.run(main(DoesNotStop))
