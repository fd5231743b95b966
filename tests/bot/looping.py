"""Running the live loop for as long as a test needs it."""

from __future__ import annotations

import asyncio
import contextlib


async def running(server, client, condition, since="s0"):
    """Run the loop from a position until the condition holds, then stop it and see it end."""
    client.next_batch = since
    loop = asyncio.create_task(client.sync_forever(timeout=30_000))
    try:
        await server.until(lambda: condition() or loop.done())
    finally:
        loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loop
