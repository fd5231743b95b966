"""One device for life: log in once, keep the session beside the device's keys, restore it at every start."""

from __future__ import annotations

import json
import os
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from nio import WhoamiResponse

from greenroom_bot.config import Config
from greenroom_bot.matrix.client import Client, ok
from greenroom_bot.matrix.errors import ConfigError, CredentialsError, MatrixError, StoreError
from greenroom_bot.matrix.ids import UserId

SESSION_FILE = "session.json"


@dataclass(frozen=True)
class Session:
    """What identifies our device to the homeserver. Lives and dies with the key files in the same directory: keeping
    a device id whose keys are lost would clash with the keys that the server remembers."""

    user_id: UserId
    device_id: str
    access_token: str

    @classmethod
    def load(cls, store_path: Path) -> Session | None:
        """Return the saved session, or None when there is none or it cannot be read as one."""
        try:
            saved = json.loads((store_path / SESSION_FILE).read_text())
            return cls(**saved)
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None
        except OSError as why:
            raise ConfigError(f"{store_path / SESSION_FILE} cannot be read: {why.strerror}") from why

    def save(self, store_path: Path) -> None:
        """Write the session for the owner's eyes only, whole or not at all."""
        store_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = store_path / f"{SESSION_FILE}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file)
        draft.replace(store_path / SESSION_FILE)

    def keys_path(self, store_path: Path) -> Path:
        """Return where nio keeps this device's encryption keys."""
        return store_path / f"{self.user_id}_{self.device_id}.db"

    def has_keys(self, store_path: Path) -> bool:
        """Return whether there are any; an empty file, as a full disk leaves it, holds none."""
        path = self.keys_path(store_path)
        return path.exists() and path.stat().st_size > 0


@dataclass(frozen=True)
class Login:
    """How :func:`authenticate` got in. ``keys_lost``: an earlier device's keys are gone, so this is a new device (or,
    with an access token, the old one with new keys) that cannot read what was encrypted before."""

    session: Session
    fresh: bool
    keys_lost: bool = False


async def authenticate(client: Client, config: Config, *, known_device: str | None, device_name: str) -> Login:
    """Restore the saved session, else log in; leave the client logged in with its key store loaded.

    ``known_device`` is the device id that the database remembers, to tell a first start from lost keys.
    Raises CredentialsError when the homeserver refuses us, ConfigError when the account is not the configured one,
    MatrixError when it cannot be asked.
    """
    if config.access_token:
        session = await _from_token(client, config)
        keys_lost = known_device == session.device_id and not session.has_keys(config.store_path)
        return _enter(client, config, Login(session, fresh=known_device is None, keys_lost=keys_lost))
    saved = Session.load(config.store_path)
    if saved and saved.user_id != config.user_id:
        raise ConfigError(
            f"{config.store_path / SESSION_FILE} belongs to {saved.user_id}, not {config.user_id}; "
            "give this bot a MATRIX_STORE_PATH of its own"
        )
    had_keys = bool(saved and saved.access_token) or (saved is None and known_device is not None)
    keys_lost = had_keys and not (saved and saved.has_keys(config.store_path))
    if saved and saved.access_token and not keys_lost:
        client.access_token = saved.access_token
        try:
            await ok(client.whoami(), WhoamiResponse)
            return _enter(client, config, Login(saved, fresh=False))
        except MatrixError as why:
            client.access_token = ""
            if not why.dead_token:
                raise
    device_id = saved.device_id if saved and not keys_lost else _new_device_id(config)
    login = _enter(client, config, Login(await _by_password(client, config, device_id, device_name), True, keys_lost))
    if saved and saved.access_token and keys_lost:
        await _retire(client, saved)
    if client.olm:
        client.olm.account.shared = False  # the server forgot a revoked device's keys: upload the same ones again
    return login


def _new_device_id(config: Config) -> str:
    """Choose the device id ourselves and note it before the first login: a login whose answer is lost and that is
    repeated is then the same device, not one more."""
    device_id = "GREENROOM" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(8))
    Session(config.user_id, device_id, "").save(config.store_path)
    return device_id


def _enter(client: Client, config: Config, login: Login) -> Login:
    config.store_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    session = login.session
    try:
        client.restore_login(session.user_id, session.device_id, session.access_token)
    except Exception as why:  # nio lets its database's and its cryptography's errors out
        raise StoreError(
            f"the encryption keys in {session.keys_path(config.store_path)} cannot be read ({why}); "
            "move the file away, and the next start makes a new device"
        ) from why
    session.save(config.store_path)
    return login


async def _from_token(client: Client, config: Config) -> Session:
    client.access_token = config.access_token
    try:
        me = await ok(client.whoami(), WhoamiResponse)
    except MatrixError as why:
        if why.status in (401, 403):
            raise CredentialsError(
                f"{config.homeserver} refuses MATRIX_ACCESS_TOKEN: {why.errcode} {why.error}"
            ) from why
        raise
    if me.user_id != config.user_id:
        raise ConfigError(f"MATRIX_ACCESS_TOKEN belongs to {me.user_id}, MATRIX_USER_ID is {config.user_id}")
    return Session(config.user_id, me.device_id or "NODEVICE", config.access_token or "")


async def _by_password(client: Client, config: Config, device_id: str, device_name: str) -> Session:
    if not config.password:
        raise CredentialsError("the saved session was revoked and MATRIX_PASSWORD is not set")
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": config.user_id},
        "password": config.password,
        "initial_device_display_name": device_name,
        "device_id": device_id,
    }
    try:
        answer = await client.request("POST", "login", body=body)
    except MatrixError as why:
        if why.status in (401, 403):
            raise CredentialsError(
                f"{config.homeserver} refuses the password of {config.user_id}: {why.errcode} {why.error}"
            ) from why
        raise
    if not all(isinstance(answer.get(key), str) for key in ("user_id", "device_id", "access_token")):
        raise MatrixError("POST", "/login", status=200, cause="the answer lacks user id, device id or access token")
    if answer["user_id"] != config.user_id:
        raise ConfigError(f"logged in as {answer['user_id']}, MATRIX_USER_ID is {config.user_id}")
    return Session(config.user_id, answer["device_id"], answer["access_token"])


async def _retire(client: Client, old: Session) -> None:
    """Log the keyless old device out, best effort: it may be gone already."""
    current, client.access_token = client.access_token, old.access_token
    try:
        await client.request("POST", "logout")
    except MatrixError:
        pass
    finally:
        client.access_token = current
