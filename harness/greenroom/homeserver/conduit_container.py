"""Conduit in a container: the official image, configured by its environment alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from greenroom.errors import CapabilityMissing
from greenroom.homeserver.container.running import Placement, Recipe, RunningContainer
from greenroom.homeserver.container.start import ContainerHomeserver, read_files
from greenroom.homeserver.interface import Capability, Kind
from greenroom.homeserver.settings import HomeserverSettings, Secrets

DATA = "/var/lib/matrix-conduit"
PORT = 6167


def conduit_env(settings: HomeserverSettings, registration_token: str) -> dict[str, str]:
    """Render the environment of a Conduit container. https://docs.conduit.rs/configuration.html

    `settings.extra` holds fields of its `[global]` section. Raises CapabilityMissing for rate limits: it has none.
    """
    if settings.rate_limits != "none":
        raise CapabilityMissing(str(Capability.RATE_LIMITS), "Conduit")
    values: dict[str, Any] = {
        "server_name": settings.server_name,
        "database_backend": "rocksdb",
        "database_path": DATA,
        "address": "0.0.0.0",  # noqa: S104 - inside its own network; published on loopback only
        "port": PORT,
        "max_request_size": 20_000_000,  # in bytes; below it media tests fail
        "allow_registration": True,
        "registration_token": registration_token,  # so that nobody else who finds the port gets an account
        "allow_federation": False,  # a test server has no peers
        "allow_check_for_updates": False,  # no outgoing requests
        "trusted_servers": [],
        "enable_lightning_bolt": False,  # leaves display names as they were asked for
        "log": _log_filter(settings.log_level),
        **settings.extra,
    }
    variables = {f"CONDUIT_{name.upper()}": _text(value) for name, value in values.items()}
    # Without it Conduit insists on a configuration file; empty means there is none.
    return {"CONDUIT_CONFIG": "", **variables}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _log_filter(level: str) -> str:
    return {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error"}.get(level.upper(), "info")


UID = 1000  # any number but root's: the data folder is made for it
BINARY = "/usr/local/bin/matrix-conduit"
# No admin API, no shared secret, no rate limits.
CAPABILITIES = frozenset(
    {
        Capability.REGISTRATION_TOKEN,
        Capability.STOP,
        Capability.KILL,
        Capability.PAUSE,
        Capability.ROOM_UPGRADE,
    }
)


def conduit_recipe(image: str, settings: HomeserverSettings, secrets: Secrets, data: Path | None = None) -> Recipe:
    """Say how to run Conduit; data that an earlier container left in `data` goes in again."""
    return Recipe(
        kind=Kind.CONDUIT,
        image=image,
        entrypoint=[BINARY],
        command=[],
        port=PORT,
        folder=DATA,
        uid=UID,
        gid=UID,
        files=read_files(data, sorted(data.rglob("*"))) if data else {},
        env=conduit_env(settings, secrets.registration_shared_secret),
    )


class ConduitContainer(ContainerHomeserver):
    """A Conduit that is to run in a container. Accounts come by registration token."""

    kind = Kind.CONDUIT
    capabilities = CAPABILITIES

    @property
    def data_folder(self) -> Path:
        return self.folder / "data"  # RocksDB makes many files: they have a folder to themselves

    def recipe(self, image: str, secrets: Secrets) -> Recipe:
        return conduit_recipe(image, self.settings, secrets, self.data_folder)

    def server_of(self, recipe: Recipe, placement: Placement, secrets: Secrets) -> RunningContainer:
        return RunningContainer(
            recipe,
            placement,
            server_name=self.settings.server_name,
            capabilities=self.capabilities,
            registration_token=secrets.registration_shared_secret,
        )
