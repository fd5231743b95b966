"""A homeserver is ready when it answers HTTP. Ask often, and give up as soon as the server has ended.

The one request needs no HTTP library. Importing one takes a quarter of a second, while the homeserver needs the
processor itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from greenroom.errors import NotMet
from greenroom.waiting import NotYet, scaled, until

POLL_S = 0.02
VERSIONS = "/_matrix/client/versions"


async def answers(url: str, *, timeout_s: float = 2.0) -> str | None:
    """Ask once. Return None if the server answers, otherwise the reason why not."""
    try:
        async with asyncio.timeout(timeout_s):
            line = await _status_line(url)
    except TimeoutError:
        return f"{VERSIONS} does not answer within {timeout_s:g} s"
    except OSError as error:
        return f"no connection: {error.strerror or error}"
    version, _, rest = line.partition(" ")
    if not version.startswith("HTTP/"):
        return "no HTTP answer"
    return None if rest.startswith("200") else f"{VERSIONS} answers {rest[:3]}"


async def _status_line(url: str) -> str:
    """Return the first line of the answer, empty if the connection ends without one. Raises OSError."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(f"GET {VERSIONS} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readuntil(b"\n")).decode(errors="replace")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return ""
    finally:
        writer.close()


async def listens(url: str) -> bool:
    """Return whether a server listens at all; one that is slow or frozen does."""
    reason = await answers(url)
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
        reason = await answers(url)
        return url if reason is None else NotYet(reason)

    try:
        return await until(ask, "the homeserver to answer", timeout_s=timeout_s, every_s=POLL_S)
    except NotMet as error:
        raise TimeoutError(f"not ready after {scaled(timeout_s):g} s: {error.reasons[-1][1]}") from None
