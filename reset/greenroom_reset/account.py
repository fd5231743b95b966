"""Signing in as the bot without leaving a trace: its own session if it has one, else a device for the purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from greenroom_bot.config import Config
from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import MatrixError, SessionOver
from greenroom_bot.matrix.session import Session
from greenroom_reset.errors import Refused, ResetError, SignInRefused
from greenroom_reset.pace import Pace

# Always the same id, so that a killed run leaves at most this one device, which the next run takes over and signs out.
DEVICE_ID = "GREENROOM_RESET"
SIGN_OUT_TIMEOUT_S = 10.0


@dataclass
class Account:
    """The bot's account, signed in. ``how`` says by what."""

    client: Client
    how: str


@asynccontextmanager
async def signed_in(config: Config, pace: Pace, warn: Callable[[str], None]) -> AsyncIterator[Account]:
    """Sign in by the saved session, else the access token, else the password; sign only an own device out again.

    Raises SignInRefused when the homeserver takes none of them, Refused when one belongs to another account,
    MatrixError when the homeserver cannot be asked.
    """
    client = Client(config.homeserver, config.user_id, store_path="")
    client.client_session = _session_without_redirects()
    own_device = False
    try:
        saved = Session.load(config.store_path)
        # Before its token goes to a homeserver that may not be its own.
        if saved and saved.user_id not in ("", config.user_id):
            raise Refused(f"the bot's saved session belongs to {saved.user_id}, MATRIX_USER_ID is {config.user_id}")
        tokens = {"the bot's saved session": saved.access_token if saved else None, "the token": config.access_token}
        for how, token in tokens.items():
            if token and await _is_accepted(client, config, pace, token, how):
                break
        else:
            how, own_device = f"device {DEVICE_ID}, signed out at the end", True
            await _log_in(client, config, pace)
        yield Account(client, how)
    finally:
        ending = asyncio.ensure_future(_sign_off(client, warn, own_device=own_device))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:  # a first signal may end everything but this
            await ending
            raise


async def _sign_off(client: Client, warn: Callable[[str], None], *, own_device: bool) -> None:
    try:
        if own_device and client.access_token:
            async with asyncio.timeout(SIGN_OUT_TIMEOUT_S):
                await client.request("POST", "logout")
    except (MatrixError, SessionOver, TimeoutError) as why:
        warn(f"the device {DEVICE_ID} could not be signed out ({why}); the next reset takes it over")
    finally:
        await client.close()


def _session_without_redirects() -> aiohttp.ClientSession:
    """Return what nio would make for itself, but it follows nobody to a host that was not checked."""

    async def refuse(_: object, __: object, params: aiohttp.TraceRequestRedirectParams) -> None:
        elsewhere = params.response.headers.get("Location", "")
        raise aiohttp.ClientError(f"the homeserver redirects to {elsewhere[:100]!r}, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return aiohttp.ClientSession(trace_configs=[trace])


async def wake(client: Client) -> None:
    """Make sure of a connection before a write: the server may have closed ours while somebody thought at the prompt.

    Raises MatrixError if there is none. Any answer will do.
    """
    try:
        await client.request("GET", "account", "whoami")
    except MatrixError as why:
        if why.status is None:
            await client.request("GET", "account", "whoami")


async def _is_accepted(client: Client, config: Config, pace: Pace, token: Any, how: str) -> bool:
    if not (isinstance(token, str) and token.isascii() and token.isprintable()):
        return False
    client.access_token = token
    try:
        me = (await pace.send(lambda: client.request("GET", "account", "whoami"))).get("user_id")
    except SessionOver:
        client.access_token = ""
        return False
    except MatrixError as why:
        client.access_token = ""
        if why.status == 403:
            raise SignInRefused(f"{config.homeserver} refuses {how}: {why.errcode} {why.error}") from why
        raise
    if me != config.user_id:
        raise Refused(f"{how} belongs to {me}, MATRIX_USER_ID is {config.user_id}")
    return True


async def _log_in(client: Client, config: Config, pace: Pace) -> None:
    if not config.password:
        raise SignInRefused(f"{config.homeserver} accepts no saved session or token, and MATRIX_PASSWORD is not set")
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": config.user_id},
        "password": config.password,
        "device_id": DEVICE_ID,
        "initial_device_display_name": "Greenroom reset (development)",
    }

    async def log_in() -> dict[str, Any]:
        return await pace.send(lambda: client.request("POST", "login", body=body))

    try:
        try:
            answer = await log_in()
        except MatrixError as why:
            if why.definite:
                raise
            answer = await log_in()  # perhaps only the answer was lost: the same device again, so as to sign it out
    except MatrixError as why:
        if why.status in (401, 403):
            raise SignInRefused(
                f"{config.homeserver} refuses the password of {config.user_id}: {why.errcode} {why.error}"
            ) from why
        if why.definite:
            raise
        raise ResetError(f"{why}; the device {DEVICE_ID} may be signed in, the next reset takes it over") from why
    client.access_token = answer.get("access_token", "")
    if answer.get("user_id") != config.user_id:
        raise Refused(f"signed in as {answer.get('user_id')}, MATRIX_USER_ID is {config.user_id}")
