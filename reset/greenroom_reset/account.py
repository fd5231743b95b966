"""Signing in as the bot without leaving a trace, and without talking to a host that was not checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp

from greenroom_bot.config import Config
from greenroom_bot.matrix import session
from greenroom_bot.matrix.client import Client
from greenroom_reset.pace import Pace

# Always the same id, so that a killed run leaves at most this one device, which the next run takes over and signs out.
DEVICE_ID = "GREENROOM_RESET"
DEVICE_NAME = "Greenroom reset (development)"


@asynccontextmanager
async def signed_in(config: Config, pace: Pace, warn: Callable[[str], None]) -> AsyncIterator[tuple[Client, str]]:
    """Sign in like `session.signed_in`. Yield the client, and in words by which credentials."""
    client = Client(config.homeserver, config.user_id, store_path="")
    client.client_session = _session_without_redirects()
    try:
        async with session.signed_in(
            client, config.credentials, device_id=DEVICE_ID, device_name=DEVICE_NAME, warn=warn, send=pace.send
        ) as how:
            yield client, how
    finally:
        await client.close()


def _session_without_redirects() -> aiohttp.ClientSession:
    """Return the HTTP session that nio would make for itself, but one that refuses redirects to other hosts."""

    async def refuse(_: object, __: object, params: aiohttp.TraceRequestRedirectParams) -> None:
        elsewhere = params.response.headers.get("Location", "")
        raise aiohttp.ClientError(f"the homeserver redirects to {elsewhere[:100]!r}, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return aiohttp.ClientSession(trace_configs=[trace])
