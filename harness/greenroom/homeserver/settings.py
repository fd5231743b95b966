"""What a homeserver of any kind is made from: settings, secrets, a port, files."""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import shutil
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from greenroom.errors import HarnessError, PortTaken, StartFailed
from greenroom.homeserver.appservice import Appservice
from greenroom.spelling import command

SECRETS_FILE = "secrets.json"  # in the homeserver's folder
SERVER_NAME = "greenroom.test"  # fixed, so that user ids in blueprints, tests and documents are the same everywhere


@dataclass(frozen=True)
class FederationSettings:
    """How a homeserver reaches its peers."""

    proxy: str  # URL of the proxy for all that it sends to other homeservers
    authority: str  # path of the certificate of the authority that it trusts


@dataclass(frozen=True)
class HomeserverSettings:
    """What a caller may choose. Each default suits a test."""

    server_name: str = SERVER_NAME
    port: int = 0  # 0: a free one is chosen at the first start and kept
    rate_limits: str | Collection[str] = "none"  # "none", "default" for all of them, or the names to restore
    extra: Mapping[str, Any] = field(default_factory=dict)  # top-level keys of the server's own configuration
    log_level: str = "INFO"
    room_version: str | None = None  # of rooms whose creator names none; None: the server's default
    appservices: tuple[Appservice, ...] = ()  # application services that the server knows from its start
    manners: tuple[str, ...] = ()  # of another homeserver, by a proxy in front of this one (faults/manners)
    federation: FederationSettings | None = None  # None: alone. The session sets it where homeservers can federate


class DamagedSecrets(HarnessError):
    """A homeserver's secrets cannot be read."""


@dataclass(frozen=True)
class Secrets:
    """Secrets of one server, made once and kept in its folder."""

    registration_shared_secret: str
    macaroon_secret_key: str
    form_secret: str
    signing_key: str  # one line: "ed25519 VERSION SEED", the seed 32 bytes in unpadded base64

    @classmethod
    def fresh(cls) -> Secrets:
        """Return new random secrets."""
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        return cls(
            registration_shared_secret=secrets.token_urlsafe(32),
            macaroon_secret_key=secrets.token_urlsafe(32),
            form_secret=secrets.token_urlsafe(32),
            signing_key=f"ed25519 a_{secrets.token_hex(2)} {seed}",
        )

    @classmethod
    def kept_in(cls, path: Path) -> Secrets:
        """Return the secrets in `path`; if there are none yet, make new ones and keep them (mode 0600).

        Raises DamagedSecrets if the file does not hold them: new ones would not fit the accounts of the homeserver.
        """
        if path.exists():
            return cls.read(path)
        made = cls.fresh()
        made.write(path)
        return made

    def write(self, path: Path) -> None:
        """Keep the secrets in `path` (mode 0600)."""
        replace_text(path, json.dumps(asdict(self), indent=1))  # a half-written file would never be replaced

    @classmethod
    def read(cls, path: Path) -> Secrets:
        """Return the secrets in `path`. Raises DamagedSecrets."""
        try:
            found = json.loads(path.read_text())
            if not all(isinstance(found[field.name], str) for field in fields(cls)):
                raise ValueError("a secret is not a text")
            return cls(**found)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedSecrets(
                f"{path} is damaged ({type(error).__name__}: {error}), and the passwords follow from it; "
                f"put it back, or start over: {command('dev --fresh')}"
            ) from None


LOOPBACK = "127.0.0.1"
# Below the ports that kernels choose (32768 and up), so that no program takes ours by chance while the server is down.
PORTS = range(20_000, 32_000)
PORT_TRIES = 8


def free_port() -> int:
    """Return a port that is free now. Another program may take it before it is bound; then ask again."""
    choose = random.SystemRandom()
    for _ in range(50):
        port = choose.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port
    return choose.choice(PORTS)


def check_port_free(port: int) -> None:
    """Raise PortTaken if a program listens on that port. The server's own start notices a later one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: TIME_WAIT is no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError as error:
            raise StartFailed("homeserver", f"port {port} may not be used: {error.strerror}") from None
        except OSError:
            raise PortTaken("homeserver", port) from None


def read_files(folder: Path, paths: list[Path]) -> dict[str, bytes]:
    """Return the contents of the files among `paths`, by their names below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file atomically and privately: after a crash the target is whole or absent."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    shutil.copyfile(source, draft)
    draft.replace(target)


def replace_text(path: Path, text: str) -> None:
    """Write a private file atomically: a reader sees the old text or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
