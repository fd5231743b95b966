"""Accepts each alert at once, tries to send it once, and loses it while the homeserver is away."""

from __future__ import annotations

import asyncio

from good import Bot, main

CAUGHT_BY = "trigger-while-server-away"
SAYS = "(HTTP 202) was lost: neither refused nor ever said"


class AcceptsAndLoses(Bot):
    async def deliver(self, alert: dict[str, str]) -> None:
        await self.send(alert)


if __name__ == "__main__":
    asyncio.run(main(AcceptsAndLoses))
