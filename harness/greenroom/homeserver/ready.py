"""A homeserver is ready when it answers HTTP. Ask often, and give up as soon as the server has ended."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from greenroom.errors import NotMet
from greenroom.waiting import NotYet, scaled, until

POLL_S = 0.02
VERSIONS = "/_matrix/client/versions"


async def answers(session: aiohttp.ClientSession, url: str, *, timeout_s: float = 2.0) -> str | None:
    """Ask once. Return None if the server answers, otherwise the reason why not."""
    try:
        async with session.get(url + VERSIONS, timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
            return None if response.status == 200 else f"{VERSIONS} answers {response.status}"
    except TimeoutError:
        return f"{VERSIONS} does not answer within {timeout_s:g} s"
    except aiohttp.ClientError as error:
        return f"{type(error).__name__}: {error}"


async def listens(url: str) -> bool:
    """Return whether a server listens at all; one that is slow or frozen does."""
    async with aiohttp.ClientSession() as session:
        reason = await answers(session, url)
    return reason is None or reason.startswith(VERSIONS)


async def wait_until_ready(
    find_url: Callable[[], str | None], check_alive: Callable[[], None], timeout_s: float
) -> str:
    """Wait until the server answers; return its URL.

    `find_url` returns None while the port is not known yet. `check_alive` raises as soon as waiting is pointless.
    Raises TimeoutError, in words, after `timeout_s` (scaled by GREENROOM_TIMEOUT_FACTOR).
    """

    async def ask() -> str | NotYet:
        check_alive()
        if (url := find_url()) is None:
            return NotYet("it has not said which port it listens on")
        reason = await answers(session, url)
        return url if reason is None else NotYet(reason)

    async with aiohttp.ClientSession() as session:
        try:
            return await until(ask, "the homeserver to answer", timeout_s=timeout_s, every_s=POLL_S)
        except NotMet as error:
            raise TimeoutError(f"not ready after {scaled(timeout_s):g} s: {error.reasons[-1][1]}") from None
