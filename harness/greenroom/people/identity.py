"""The cross-signing identity of a person: it signs the person's devices, as clients do when somebody signs up.

A bot may share keys only with devices that their owner has signed (MSC4153); people without an identity could not read
its answers. The identity verifies nobody: to compare emoji takes two people.
"""

from __future__ import annotations

from typing import Any

import vodozemac

from greenroom.errors import MatrixRefused
from greenroom.people.accounts import Account
from greenroom.people.devices import bare, canonical
from greenroom.people.matrix_api import MatrixApi, path

MASTER, SELF_SIGNING = "master", "self_signing"


class Identity:
    """Two signing keys of one account: the master key, and the one that signs devices. They are kept in memory only.

    A vodozemac account is used for its Ed25519 key only: the library exports no bare key pair.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._keys = {usage: vodozemac.Account() for usage in (MASTER, SELF_SIGNING)}
        self._uploaded = False

    async def sign_device(self, api: MatrixApi, token: str, device_id: str) -> None:
        """Sign a device of the account that has published its keys. Raises MatrixRefused."""
        me = self._account.user_id
        if not self._uploaded:
            await self._upload(api, token)
            self._uploaded = True
        found = await api.call("POST", path("keys", "query"), token=token, json={"device_keys": {me: [device_id]}})
        signed = self._signed(SELF_SIGNING, found["device_keys"][me][device_id])
        await api.call("POST", path("keys", "signatures", "upload"), token=token, json={me: {device_id: signed}})

    async def _upload(self, api: MatrixApi, token: str) -> None:
        where = path("keys", "device_signing", "upload")
        body: dict[str, Any] = {
            "master_key": self._key(MASTER),
            "self_signing_key": self._signed(MASTER, self._key(SELF_SIGNING)),
        }
        try:
            await api.call("POST", where, token=token, json=body)
        except MatrixRefused as refused:
            if refused.status != 401 or not isinstance(refused.body, dict) or "flows" not in refused.body:
                raise
            who = {"type": "m.id.user", "user": self._account.user_id}
            auth = {"type": "m.login.password", "identifier": who, "password": self._account.password}
            body["auth"] = {**auth, "session": refused.body.get("session")}
            await api.call("POST", where, token=token, json=body)

    def _key(self, usage: str) -> dict[str, Any]:
        public = self._public(usage)
        return {"user_id": self._account.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}

    def _public(self, usage: str) -> str:
        return str(self._keys[usage].ed25519_key.to_base64())

    def _signed(self, usage: str, content: dict[str, Any]) -> dict[str, Any]:
        signature = self._keys[usage].sign(canonical(content)).to_base64()
        return {**bare(content), "signatures": {self._account.user_id: {f"ed25519:{self._public(usage)}": signature}}}
