"""The encryption keys that the fake homeserver holds for the one account, refused as Synapse refuses them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.bot.factory import ME


@dataclass
class FakeKeys:
    """Device keys and cross-signing keys by name, one-time keys by device and id."""

    devices: dict[str, Any] = field(default_factory=dict)
    one_time: dict[str, dict[str, Any]] = field(default_factory=dict)
    signing: dict[str, Any] = field(default_factory=dict)
    """`master_key`, `self_signing_key`, `user_signing_key` as uploaded."""
    signatures: dict[str, Any] = field(default_factory=dict)
    """Key id -> the object with the signature that was uploaded for it."""

    def answer(self, device: str, what: tuple[str, ...], body: Any) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to `POST /keys/{what}`."""
        match what:
            case ("upload",):
                return self._upload(device, body)
            case ("query",):
                signing = {f"{name}s": {ME: key} for name, key in self.signing.items()}
                return 200, {"device_keys": {ME: self.devices} if self.devices else {}, "failures": {}, **signing}
            case ("device_signing", "upload"):
                if "auth" not in body:
                    return 401, {"session": "s", "flows": [{"stages": ["m.login.password"]}], "params": {}}
                self.signing = {name: key for name, key in body.items() if name != "auth"}
            case ("signatures", "upload"):
                self.signatures |= body[ME]
                return 200, {"failures": {}}
        return 200, {"one_time_keys": {}, "failures": {}}

    def _upload(self, device: str, body: Any) -> tuple[int, dict[str, Any]]:
        held = self.one_time.setdefault(device, {})
        for key_id, key in body.get("one_time_keys", {}).items():
            if held.get(key_id, key) != key:
                return 400, {"errcode": "M_UNKNOWN", "error": f"One time key {key_id} already exists"}
        held |= body.get("one_time_keys", {})
        if "device_keys" in body:
            self.devices[device] = body["device_keys"]
        return 200, {"one_time_key_counts": {"curve25519": 0, "signed_curve25519": len(held)}}
