"""Good when alone: it listens on a fixed port (BOT_PORT), as bots with webhooks do, so a second copy cannot start."""

from __future__ import annotations

import asyncio
import os

from good import Bot, main


class BindsAPort(Bot):
    async def log_in(self) -> None:
        await super().log_in()
        self.server = await asyncio.start_server(lambda *_: None, "127.0.0.1", int(os.environ["BOT_PORT"]))


if __name__ == "__main__":
    asyncio.run(main(BindsAPort))
