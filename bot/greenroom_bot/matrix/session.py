"""Signing in: one device for life for the bot, and a device that is signed out again for its tools."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import string
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.encryption import published_keys, unusable_keys
from greenroom_bot.matrix.errors import BotError, ConfigError, CredentialsError, MatrixError, SessionOver, StoreError
from greenroom_bot.matrix.ids import UserId

SESSION_FILE = "session.json"
DEVICE_PREFIX = "GREENROOM"
"""Begins the id of each device that the bot makes. Tools put an underscore behind it."""
SIGN_OUT_TIMEOUT_S = 10.0

Send = Callable[[Callable[[], Awaitable[dict[str, Any]]]], Awaitable[dict[str, Any]]]
"""Makes a request by calling the function that it is given; again, if the caller knows how to wait out a rate limit."""


@dataclass(frozen=True)
class Session:
    """What identifies our device to the homeserver.

    The key files in the same directory belong to it: a device id whose keys are lost would clash with the keys that
    the homeserver remembers. Without an access token it is only the id that the first login will use.
    """

    user_id: UserId
    device_id: str
    access_token: str

    @classmethod
    def load(cls, store_path: Path) -> Session | None:
        """Return the saved session, or None when there is none or it cannot be read as one."""
        path = store_path / SESSION_FILE
        try:
            saved = cls(**json.loads(path.read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        complete = all(isinstance(value, str) for value in asdict(saved).values()) and saved.user_id and saved.device_id
        return saved if complete else None

    def save(self, store_path: Path) -> None:
        """Write the session, readable by its owner only."""
        store_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(store_path / SESSION_FILE, asdict(self))

    def keys_path(self, store_path: Path) -> Path:
        """Return where nio keeps this device's encryption keys."""
        return store_path / f"{self.user_id}_{self.device_id}.db"

    def has_keys(self, store_path: Path) -> bool:
        """Return whether there are any; an empty file, as a full disk leaves it, holds none."""
        path = self.keys_path(store_path)
        return path.exists() and path.stat().st_size > 0


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, readable by its owner only; it holds all of the content or what it held before."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    draft.replace(path)


@dataclass(frozen=True)
class Login:
    """How `authenticate` signed in.

    `fresh`: by a new login. `keys_lost`: an earlier device's keys are gone, so this is a new device, which cannot read
    what was encrypted before. `ran_before`: session, keys or database are an earlier run's; an access token cannot
    tell, and counts as one.
    """

    session: Session
    fresh: bool
    keys_lost: bool = False
    ran_before: bool = True


async def authenticate(
    client: Client, credentials: Credentials, *, known_device: str | None, device_name: str
) -> Login:
    """Restore the saved session, else log in; leave the client signed in with its key store loaded.

    `known_device` is the device id in the database: with it lost keys can be told from a first start. Raises
    CredentialsError when the homeserver refuses us, or when the keys of an access token's device are lost. Raises
    ConfigError when the account is not the configured one, StoreError when the keys cannot be read, MatrixError when
    the homeserver cannot be asked.
    """
    if token := credentials.access_token:
        try:
            session = await accept_token(client, credentials, token, "MATRIX_ACCESS_TOKEN")
        except SessionOver as error:
            raise _refused(credentials, "MATRIX_ACCESS_TOKEN", error) from error
        if not session.has_keys(credentials.store_path):
            await _check_device_is_new(client, credentials, session)
        return _enter(client, credentials, Login(session, fresh=known_device is None))
    saved = saved_session(credentials) or _session_of_keys(credentials, known_device)
    had_keys = bool(saved and saved.access_token) or (saved is None and known_device is not None)
    keys_lost = had_keys and not (saved and saved.has_keys(credentials.store_path))
    if saved and saved.access_token and not keys_lost:
        try:
            await accept_token(client, credentials, saved.access_token, "the bot's saved session")
            return _enter(client, credentials, Login(saved, fresh=False))
        except SessionOver:
            pass  # revoked, but the device's keys are good: log in again on the same device
    device_id = saved.device_id if saved and not keys_lost else _new_device_id(credentials)
    session = await log_in(client, credentials, device_id, device_name)
    ran_before = keys_lost or bool(saved and saved.has_keys(credentials.store_path))
    login = _enter(client, credentials, Login(session, True, keys_lost, ran_before))
    if saved and saved.access_token and keys_lost:
        await _retire(client, saved)
    if client.olm:
        client.olm.account.shared = False  # the homeserver forgot a revoked device's keys: upload the same ones again
    return login


@asynccontextmanager
async def signed_in(
    client: Client,
    credentials: Credentials,
    *,
    device_id: str,
    device_name: str,
    warn: Callable[[str], None],
    send: Send = lambda request: request(),
    fallback: bool = True,
) -> AsyncIterator[str]:
    """Sign in by the bot's saved session, else its access token, else its password, and yield in words by which.

    Only a login by password makes a device; it is signed out at the end, also after a failure or a cancellation, and
    `warn` hears of it when that fails. Without `fallback` a session or token that the homeserver no longer knows raises
    SessionOver and the next way is not tried. Raises like `authenticate` otherwise. The caller closes the client.
    """
    saved = saved_session(credentials)
    tokens = {"the bot's saved session": saved and saved.access_token, "the token": credentials.access_token}
    own_device = False
    try:
        for how, token in tokens.items():
            if not token:
                continue
            if not _fits_header(token):
                warn(f"{how} holds a character that no HTTP header can hold; it was not used")
                continue
            try:
                await accept_token(client, credentials, token, how, send=send)
                break
            except SessionOver:
                if not fallback:
                    raise
        else:
            how, own_device = f"device {device_id}, signed out at the end", True
            await _log_in_twice(client, credentials, device_id, device_name, send)
        yield how
    finally:
        if own_device and client.access_token:
            signing_out = asyncio.ensure_future(_sign_out(client, device_id, warn))
            try:
                await asyncio.shield(signing_out)
            except asyncio.CancelledError:  # the first cancellation ends everything but this
                await signing_out
                raise


async def accept_token(
    client: Client, credentials: Credentials, token: str, how: str, *, send: Send = lambda request: request()
) -> Session:
    """Make the client use a token, after asking the homeserver whose it is. `how` names the token in messages.

    Raises SessionOver when the homeserver does not know it, CredentialsError when it refuses the account, ConfigError
    when the token is another account's.
    """
    client.access_token = token
    try:
        me = await send(lambda: client.request("GET", "account", "whoami"))
        if me.get("user_id") != credentials.user_id:
            raise ConfigError(f"{how} belongs to {me.get('user_id')}, MATRIX_USER_ID is {credentials.user_id}")
    except (MatrixError, SessionOver, ConfigError) as error:
        client.access_token = ""
        if isinstance(error, MatrixError):
            raise _refused(credentials, how, error) from error
        raise
    return Session(credentials.user_id, me.get("device_id") or "NODEVICE", token)


async def log_in(
    client: Client,
    credentials: Credentials,
    device_id: str,
    device_name: str,
    *,
    send: Send = lambda request: request(),
) -> Session:
    """Log in by password and make the client use the new token.

    A login whose answer was lost may be repeated: with the same device id there is still one device. Raises
    CredentialsError when the homeserver refuses the password, ConfigError when it names another account.
    """
    if not credentials.password:
        raise CredentialsError(
            f"{credentials.homeserver} accepts no saved session or token, and MATRIX_PASSWORD is not set"
        )
    body = {**by_password(credentials), "initial_device_display_name": device_name, "device_id": device_id}
    try:
        answer = await send(lambda: client.request("POST", "login", body=body))
    except (MatrixError, SessionOver) as error:
        raise _refused(credentials, f"the password of {credentials.user_id}", error) from error
    given = [answer.get(key) for key in ("user_id", "device_id", "access_token")]
    if not all(isinstance(value, str) and value and _fits_header(value) for value in given):
        raise MatrixError("POST", "/login", status=200, cause="the answer lacks user id, device id or access token")
    client.access_token = answer["access_token"]
    if answer["user_id"] != credentials.user_id:
        raise ConfigError(f"logged in as {answer['user_id']}, MATRIX_USER_ID is {credentials.user_id}")
    return Session(credentials.user_id, answer["device_id"], answer["access_token"])


def saved_session(credentials: Credentials) -> Session | None:
    """Return the saved session, before its token goes anywhere. Raises ConfigError when it is another account's."""
    saved = Session.load(credentials.store_path)
    if saved and saved.user_id != credentials.user_id:
        raise ConfigError(
            f"the bot's saved session belongs to {saved.user_id}, MATRIX_USER_ID is {credentials.user_id}; "
            f"give this bot a MATRIX_STORE_PATH other than {credentials.store_path}"
        )
    return saved


def by_password(credentials: Credentials) -> dict[str, Any]:
    """Return how a login, or a request that asks for it once more, proves the account by its password."""
    user = {"type": "m.id.user", "user": credentials.user_id}
    return {"type": "m.login.password", "identifier": user, "password": credentials.password}


def _fits_header(token: str) -> bool:
    return token.isascii() and token.isprintable()


def _session_of_keys(credentials: Credentials, known_device: str | None) -> Session | None:
    """Return the device whose keys are in the store although no session file names it, without a token.

    The device of the database comes first. Otherwise there must be one device's keys, and no more.
    """
    start, end = f"{credentials.user_id}_", ".db"
    names = [path.name for path in credentials.store_path.glob(f"*{end}") if path.name.startswith(start)]
    found = [Session(credentials.user_id, name.removeprefix(start).removesuffix(end), "") for name in names]
    with_keys = [session for session in found if session.has_keys(credentials.store_path)]
    known = [session for session in with_keys if session.device_id == known_device]
    return known[0] if known else with_keys[0] if len(with_keys) == 1 else None


async def _check_device_is_new(client: Client, credentials: Credentials, session: Session) -> None:
    """Raise CredentialsError if the homeserver holds keys of this device, whose private halves we do not have."""
    device, _ = await published_keys(client, session.device_id)
    if device:
        raise CredentialsError(
            f"MATRIX_ACCESS_TOKEN belongs to the device {session.device_id}, and its encryption keys are not in "
            f"MATRIX_STORE_PATH {credentials.store_path}: they were deleted, or another program made them. A device "
            "cannot change its keys. Log in once more for a new token, or unset MATRIX_ACCESS_TOKEN and set "
            "MATRIX_PASSWORD"
        )


def _refused(credentials: Credentials, what: str, error: MatrixError | SessionOver) -> BotError:
    """Return what a failed sign-in means: bad credentials, a URL that is no homeserver, or just the error."""
    if isinstance(error, SessionOver) or error.status in (401, 403):
        return CredentialsError(f"{credentials.homeserver} refuses {what}: {error.errcode} {error.error}")
    if error.status == 404:
        return ConfigError(f"{credentials.homeserver} is no Matrix homeserver ({error}); check MATRIX_HOMESERVER")
    return error


def _new_device_id(credentials: Credentials) -> str:
    """Choose a device id and save it before the first login, so that a repeated login is the same device."""
    device_id = DEVICE_PREFIX + "".join(secrets.choice(string.ascii_uppercase) for _ in range(8))
    Session(credentials.user_id, device_id, "").save(credentials.store_path)
    return device_id


def _enter(client: Client, credentials: Credentials, login: Login) -> Login:
    """Load the device's keys, or make them, and save the session."""
    session, store_path = login.session, credentials.store_path
    store_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        client.restore_login(session.user_id, session.device_id, session.access_token)
        session.save(store_path)
    except OSError as error:
        raise StoreError(f"MATRIX_STORE_PATH {store_path} cannot be written: {error.strerror or error}") from error
    except Exception as error:  # nio lets its database's and its cryptography's errors out
        raise unusable_keys(session.keys_path(store_path), error) from error
    return login


async def _retire(client: Client, old: Session) -> None:
    """Sign the keyless old device out if it is still there. A failure leaves it on the account and changes nothing."""
    current, client.access_token = client.access_token, old.access_token
    try:
        await client.request("POST", "logout")
    except (MatrixError, SessionOver):
        pass
    finally:
        client.access_token = current


async def _log_in_twice(client: Client, credentials: Credentials, device_id: str, device_name: str, send: Send) -> None:
    """Log in, once more when the answer may have been lost: only a known token can be signed out at the end."""
    try:
        await log_in(client, credentials, device_id, device_name, send=send)
        return
    except MatrixError as error:
        if error.definite:
            raise
    try:
        await log_in(client, credentials, device_id, device_name, send=send)
    except MatrixError as error:
        if error.definite:
            raise
        cause = f"{error.error}; the device {device_id} may be signed in"
        body = {**error.body, "error": cause}
        raise MatrixError(error.method, error.path, status=error.status, body=body) from error


async def _sign_out(client: Client, device_id: str, warn: Callable[[str], None]) -> None:
    try:
        async with asyncio.timeout(SIGN_OUT_TIMEOUT_S):
            await client.request("POST", "logout")
    except (MatrixError, SessionOver) as error:
        warn(f"the device {device_id} could not be signed out ({error})")
    except TimeoutError:
        warn(f"the device {device_id} could not be signed out (no answer for {SIGN_OUT_TIMEOUT_S:g} s)")
