"""A homeserver that refuses connections at the bot's start is often about to listen: something starts both at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

GRACE_S = 5.0  # a homeserver starts within two seconds, on a busy machine within five; longer waits are logged
EVERY_S = 0.02
ANSWER_S = 2.0  # for one connection

Sleep = Callable[[float], Awaitable[None]]


async def until_listening(
    homeserver: str,
    *,
    grace_s: float = GRACE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Return as soon as the homeserver does not refuse connections, and after `grace_s` in any case.

    Nothing is sent or logged. Whoever calls next waits with growing pauses and logs each of them (`until_answered`).
    """
    deadline = clock() + grace_s
    while await _refuses(homeserver) and clock() < deadline:
        await sleep(EVERY_S)


async def _refuses(homeserver: str) -> bool:
    """Return whether a connection is refused. Any other failure, such as an unknown name, is not for us to judge."""
    place = urlsplit(homeserver)
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(place.hostname, port)
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):  # ValueError: no such port, or no such name
        return False
    writer.close()
    return False
