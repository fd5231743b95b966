"""Signing in as the bot without leaving a trace, and without talking to a host that was not checked."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp

from greenroom_bot.config import Config
from greenroom_bot.matrix import session
from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.errors import BotError, MatrixError
from greenroom_reset.pace import Pace

# Always the same id, so that a killed run leaves at most this one device, which the next run takes over and signs out.
DEVICE_ID = "GREENROOM_RESET"
# One picture of the rooms each: a homeserver may repeat a device's first picture for ever.
DEVICE_FOR_ONE_PICTURE = f"{DEVICE_ID}_PICTURE_"
DEVICE_NAME = "Greenroom reset (development)"


@asynccontextmanager
async def signed_in(config: Config, pace: Pace, warn: Callable[[str], None]) -> AsyncIterator[tuple[Client, str]]:
    """Sign in like `session.signed_in`. Yield the client, and in words by which credentials."""
    async with _signed_in(config, config.credentials, warn, pace.send) as signed:
        yield signed


@asynccontextmanager
async def new_device(config: Config, pace: Pace, warn: Callable[[str], None]) -> AsyncIterator[Client]:
    """Sign in by password on a device that has not existed before; sign it out at the end.

    Its syncs acknowledge nothing for the bot's own device. Raises CredentialsError or MatrixError.
    """
    device_id = DEVICE_FOR_ONE_PICTURE + secrets.token_hex(4).upper()
    async with _signed_in(config, _by_password(config), warn, pace.send, device_id=device_id) as (client, _):
        client.read_only = True
        yield client


async def leftover_devices(client: Client, how: str) -> list[str]:
    """Return the devices of killed runs that are still signed in beside the one that the client uses.

    `how` is what `signed_in` yielded. A homeserver that does not list devices counts as having none.
    """
    try:
        devices = (await client.request("GET", "devices")).get("devices")
    except MatrixError:
        return []
    listed = devices if isinstance(devices, list) else []
    ids = {str(device.get("device_id")) for device in listed if isinstance(device, dict)}
    ours = {one for one in ids if one == DEVICE_ID or one.startswith(DEVICE_FOR_ONE_PICTURE)}
    return sorted(ours - ({DEVICE_ID} if DEVICE_ID in how else set()))


async def sign_out_leftover(config: Config, device_id: str, warn: Callable[[str], None]) -> None:
    """Take a device of a killed run over by password and sign it out. `warn` hears of a failure.

    Deleting a device needs the password too, in several requests (spec: User-Interactive Authentication).
    """
    try:
        async with _signed_in(config, _by_password(config), warn, device_id=device_id):
            pass
    except BotError as error:
        warn(f"the device {device_id} of a killed run could not be signed out ({error})")


def _by_password(config: Config) -> Credentials:
    return replace(config.credentials, access_token=None, store_path=Path(os.devnull))


@asynccontextmanager
async def _signed_in(
    config: Config,
    credentials: Credentials,
    warn: Callable[[str], None],
    send: session.Send = lambda request: request(),
    *,
    device_id: str = DEVICE_ID,
) -> AsyncIterator[tuple[Client, str]]:
    client = Client(config.homeserver, config.user_id, store_path="")
    client.client_session = _session_without_redirects()
    try:
        async with session.signed_in(
            client, credentials, device_id=device_id, device_name=DEVICE_NAME, warn=warn, send=send
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
