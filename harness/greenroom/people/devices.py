"""The devices of an account, as the homeserver shows their keys to everybody: which are signed by the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nio
import vodozemac

from greenroom.people.matrix_api import MatrixApi, path
from greenroom.people.seen import Raw


@dataclass(frozen=True)
class Device:
    """A device that has published keys. `signed`: by the account's cross-signing identity."""

    device_id: str
    fingerprint: str  # its public Ed25519 key
    signed: bool


async def devices_of(api: MatrixApi, token: str, user_id: str) -> list[Device]:
    """Ask the homeserver for the devices of an account that have published keys, sorted by their ids.

    https://spec.matrix.org/v1.11/client-server-api/#post_matrixclientv3keysquery
    """
    found = await api.call("POST", path("keys", "query"), token=token, json={"device_keys": {user_id: []}})
    signer = self_signing_key(found, user_id)
    return [
        Device(
            device_id,
            str(keys.get("keys", {}).get(f"ed25519:{device_id}", "")),
            signer is not None and is_signed(keys, user_id, signer),
        )
        for device_id, keys in sorted(found.get("device_keys", {}).get(user_id, {}).items())
    ]


def self_signing_key(found: Raw, user_id: str) -> str | None:
    """Return the key with which an account signs its devices, or None if it has none that its master key has signed."""
    master = _only_key(found.get("master_keys", {}).get(user_id))
    signing = found.get("self_signing_keys", {}).get(user_id)
    key = _only_key(signing)
    return key if master and key and is_signed(signing, user_id, master) else None


def is_signed(signed: Raw, user_id: str, key: str) -> bool:
    """Return whether an object has a valid signature by an Ed25519 key that bears its own public part as its name."""
    signature = (signed.get("signatures") or {}).get(user_id, {}).get(f"ed25519:{key}")
    if not isinstance(signature, str):
        return False
    try:
        made = vodozemac.Ed25519Signature.from_base64(signature)
        vodozemac.Ed25519PublicKey.from_base64(key).verify_signature(canonical(signed), made)
    except ValueError:  # every error of vodozemac is one
        return False
    return True


def canonical(signed: Raw) -> bytes:
    """Return the bytes over which an object is signed: canonical JSON without signatures."""
    return str(nio.Api.to_canonical_json(bare(signed))).encode()


def bare(signed: Raw) -> dict[str, Any]:
    """Return an object without its signatures."""
    return {name: value for name, value in signed.items() if name not in ("signatures", "unsigned")}


def _only_key(key: Raw | None) -> str | None:
    return next(iter((key or {}).get("keys", {}).values()), None)
