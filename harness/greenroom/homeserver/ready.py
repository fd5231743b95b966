"""Readiness of a homeserver: it answers HTTP. Asked often, and given up at once when the server is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp

POLL_S = 0.02
VERSIONS = "/_matrix/client/versions"


async def answers(session: aiohttp.ClientSession, url: str, *, timeout_s: float = 2.0) -> str | None:
    """Ask once. None means yes; otherwise the reason why not."""
    try:
        async with session.get(url + VERSIONS, timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
            return None if response.status == 200 else f"{VERSIONS} answers {response.status}"
    except TimeoutError:
        return f"{VERSIONS} does not answer within {timeout_s:g} s"
    except aiohttp.ClientError as error:
        return f"{type(error).__name__}: {error}"


async def listens(url: str) -> bool:
    """Say whether anybody is there at all; a server that is slow or frozen still listens."""
    async with aiohttp.ClientSession() as session:
        reason = await answers(session, url)
    return reason is None or reason.startswith(VERSIONS)


async def wait_until_ready(
    find_url: Callable[[], str | None], check_alive: Callable[[], None], timeout_s: float
) -> str:
    """Wait until the server answers; give its URL.

    `find_url` may say None while the port is not known yet. `check_alive` raises as soon as there is nothing to wait
    for. Raises TimeoutError with the latest reason.
    """
    deadline = time.monotonic() + timeout_s
    reason: str | None = "it has not said which port it listens on"
    async with aiohttp.ClientSession() as session:
        while True:
            check_alive()
            url = find_url()
            if url is not None:
                reason = await answers(session, url)
                if reason is None:
                    return url
            if time.monotonic() > deadline:
                raise TimeoutError(reason)
            await asyncio.sleep(POLL_S)
