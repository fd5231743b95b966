"""Signing the bot's own device, so that other people's clients trust it (spec: cross-signing).

Clients warn of a device that its owner has not signed, and begin to leave it out when they share keys (MSC4153).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import vodozemac
from nio import Api

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.encryption import published_keys
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.session import DEVICE_PREFIX, by_password, write_private

log = structlog.get_logger()

KEYS_FILE = "cross_signing.json"
USAGES = ("master", "self_signing", "user_signing")
_PICKLE_KEY = bytes(32)  # the file is for its owner only, so a secret beside it would protect nothing


class SigningKeys:
    """The account's three cross-signing keys with their private halves, and the device that they have signed.

    A vodozemac account is used for its Ed25519 key only: the library exports no bare key pair.
    """

    def __init__(self, keys: Mapping[str, vodozemac.Account], signed_device: str = "") -> None:
        self.keys, self.signed_device = keys, signed_device

    @classmethod
    def load(cls, store_path: Path, user_id: str) -> SigningKeys | None:
        """Return the account's saved keys, None if there are none that can be read."""
        try:
            saved = json.loads((store_path / KEYS_FILE).read_text())
            pickled = {usage: saved["keys"][usage] for usage in USAGES}
            keys = {usage: vodozemac.Account.from_pickle(text, _PICKLE_KEY) for usage, text in pickled.items()}
            return cls(keys, str(saved["signed_device"])) if saved["user_id"] == user_id else None
        except (OSError, ValueError, TypeError, LookupError, vodozemac.PickleException):
            return None

    def save(self, store_path: Path, user_id: str) -> None:
        """Write the keys, readable by their owner only."""
        keys = {usage: key.pickle(_PICKLE_KEY) for usage, key in self.keys.items()}
        saved = {"user_id": user_id, "keys": keys, "signed_device": self.signed_device}
        write_private(store_path / KEYS_FILE, saved)

    def public(self, usage: str) -> str:
        return str(self.keys[usage].ed25519_key.to_base64())

    def sign(self, usage: str, user_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the object with one more signature."""
        bare = _bare(content)
        signature = self.keys[usage].sign(Api.to_canonical_json(bare).encode()).to_base64()
        return {**bare, "signatures": {user_id: {f"ed25519:{self.public(usage)}": signature}}}

    def upload(self, user_id: str) -> dict[str, Any]:
        """Return the body of `POST /keys/device_signing/upload`: three public keys, two of them signed by the first."""
        made = {}
        for usage in USAGES:
            public = self.public(usage)
            key: dict[str, Any] = {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}
            made[f"{usage}_key"] = key if usage == "master" else self.sign("master", user_id, key)
        return made


async def sign_own_device(client: Client, credentials: Credentials) -> None:
    """Sign the device with the account's cross-signing keys. Log what was done.

    The bot makes the keys if the account has none. It makes them anew if they came from an earlier store of the bot,
    which is lost; then people's clients say that the bot's identity changed. Keys of another client are left alone.

    The keys are saved before they are uploaded, so the next start finishes an interrupted attempt. A failure is logged
    and does not stop the bot. Raises SessionOver only.
    """
    saved = SigningKeys.load(credentials.store_path, credentials.user_id)
    if saved and saved.signed_device == client.device_id:
        return
    try:
        unsigned_because = await _sign(client, credentials, saved)
    except (MatrixError, OSError) as error:
        unsigned_because = str(error)
    if unsigned_because:
        log.warning("device_not_signed", device_id=client.device_id, why=unsigned_because)
    else:
        log.info("device_signed", device_id=client.device_id)


async def _sign(client: Client, credentials: Credentials, saved: SigningKeys | None) -> str:
    """Make the account's keys if there are none, and sign the device. Return why not, or an empty string."""
    me, device_id = client.user_id, client.device_id
    device, master = await published_keys(client, device_id)
    keys = saved or SigningKeys({usage: vodozemac.Account() for usage in USAGES})
    if device is None or device["keys"].get(f"ed25519:{device_id}") != client.olm.account.identity_keys["ed25519"]:
        return "the homeserver does not show the keys of this device"
    if master and f"ed25519:{keys.public('master')}" not in master["keys"]:
        if not _made_by_the_bot(master, me):
            return "the account has cross-signing keys of another client; sign the device there"
        master = None
    if master is None:
        keys.save(credentials.store_path, me)
        made = keys.upload(me)
        if why_not := await _upload(client, credentials, made):
            return why_not
        master = made["master_key"]
    signed_master = {**master, "signatures": {me: {f"ed25519:{device_id}": client.olm.sign_json(_bare(master))}}}
    signatures = {device_id: keys.sign("self_signing", me, device), keys.public("master"): signed_master}
    answer = await client.request("POST", "keys", "signatures", "upload", body={me: signatures})
    if answer.get("failures"):
        return f"the homeserver refuses the signatures: {answer['failures']}"
    SigningKeys(keys.keys, device_id).save(credentials.store_path, me)
    return ""


async def _upload(client: Client, credentials: Credentials, body: dict[str, Any]) -> str:
    """Upload the public keys, with the password where the homeserver asks for it. Return why not."""
    path = ("keys", "device_signing", "upload")
    try:
        await client.request("POST", *path, body=body)
        return ""
    except MatrixError as error:
        if error.status != 401 or "flows" not in error.body:
            raise
        if not credentials.password:
            return "the homeserver asks for the password, and MATRIX_PASSWORD is not set"
        body = {**body, "auth": {**by_password(credentials), "session": error.body.get("session")}}
    await client.request("POST", *path, body=body)
    return ""


def _made_by_the_bot(master: Mapping[str, Any], me: str) -> bool:
    """Return whether only devices of the bot have signed the master key: whoever makes one signs it with its device."""
    signers = (master.get("signatures") or {}).get(me) or {}
    return bool(signers) and all(name.startswith(f"ed25519:{DEVICE_PREFIX}") for name in signers)


def _bare(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in ("signatures", "unsigned")}
