"""What a homeserver is asked to be, whatever software it is."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SERVER_NAME = "greenroom.test"  # fixed, so that user ids in blueprints, tests and documents are the same everywhere


@dataclass(frozen=True)
class HomeserverSettings:
    """Choices of a caller. Everything has the default that suits a test."""

    server_name: str = SERVER_NAME
    port: int = 0  # 0: a free one is chosen at the first start and kept
    rate_limits: str | Collection[str] = "none"  # "none", "default" for all of them, or the names to restore
    extra: Mapping[str, Any] = field(default_factory=dict)  # top-level keys of the server's own configuration
    log_level: str = "INFO"


@dataclass(frozen=True)
class Secrets:
    """Secrets of one server, made once and kept in its folder."""

    registration_shared_secret: str
    macaroon_secret_key: str
    form_secret: str
    signing_key: str  # one line: "ed25519 VERSION SEED", the seed 32 bytes in unpadded base64

    @classmethod
    def fresh(cls) -> Secrets:
        """Make new ones."""
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        return cls(
            registration_shared_secret=secrets.token_urlsafe(32),
            macaroon_secret_key=secrets.token_urlsafe(32),
            form_secret=secrets.token_urlsafe(32),
            signing_key=f"ed25519 a_{secrets.token_hex(2)} {seed}",
        )

    @classmethod
    def kept_in(cls, path: Path) -> Secrets:
        """Read the secrets of a server that ran before, or make and keep new ones (mode 0600)."""
        if path.exists():
            return cls(**json.loads(path.read_text()))
        made = cls.fresh()
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(made), indent=1))
        return made
