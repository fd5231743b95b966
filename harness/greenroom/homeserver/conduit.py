"""Conduit: in a container only, configured by its environment. https://docs.conduit.rs/configuration.html"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from greenroom.errors import CapabilityMissing
from greenroom.homeserver.interface import Capability
from greenroom.homeserver.kind import HomeserverKind, Recipe
from greenroom.homeserver.settings import HomeserverSettings, Secrets, read_files

DATA = "/var/lib/matrix-conduit"
PORT = 6167
UID = 1000  # any number but root's: the data folder belongs to it


def conduit_env(settings: HomeserverSettings, registration_token: str) -> dict[str, str]:
    """Render the environment of a Conduit container. `settings.extra` holds fields of its `[global]` section.

    Raises CapabilityMissing for rate limits: Conduit has none.
    """
    if settings.appservices:
        raise CapabilityMissing(str(Capability.APPSERVICES), "Conduit")
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
        "registration_token": registration_token,  # so that others who find the port get no account
        "allow_federation": False,  # a test server has no peers
        "allow_check_for_updates": False,  # no outgoing requests
        "trusted_servers": [],
        "enable_lightning_bolt": False,  # true would append a symbol to display names
        "log": _log_filter(settings.log_level),
        # In quotes, because Conduit reads 11 as a number and then finds no text.
        **({"default_room_version": json.dumps(settings.room_version)} if settings.room_version else {}),
        **settings.extra,
    }
    variables = {f"CONDUIT_{name.upper()}": _text(value) for name, value in values.items()}
    # Without this variable Conduit wants a configuration file; empty means that there is none.
    return {"CONDUIT_CONFIG": "", **variables}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _log_filter(level: str) -> str:
    return {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error"}.get(level.upper(), "info")


def conduit_recipe(image: str, settings: HomeserverSettings, secrets: Secrets, data: Path) -> Recipe:
    """Return how to run Conduit; data that an earlier container left in `data` goes in again."""
    return Recipe(
        image=image,
        entrypoint=["/usr/local/bin/matrix-conduit"],
        command=[],
        port=PORT,
        folder=DATA,
        uid=UID,
        gid=UID,
        files=read_files(data, sorted(data.rglob("*"))),
        env=conduit_env(settings, secrets.registration_shared_secret),
    )


CONDUIT = HomeserverKind(
    name="conduit",
    image="matrixconduit/matrix-conduit:v0.10.9",
    # No admin API, no shared secret, no rate limits.
    capabilities=frozenset(
        {
            Capability.REGISTRATION_TOKEN,
            Capability.STOP,
            Capability.KILL,
            Capability.PAUSE,
            Capability.ROOM_UPGRADE,
        }
    ),
    registration=Capability.REGISTRATION_TOKEN,
    recipe=conduit_recipe,
    # Conduit takes its own default without an error for a version that it does not know.
    room_versions=tuple(str(number) for number in range(6, 13)),
    database="data",
    data="data",  # RocksDB makes many files, so they get a folder of their own
)
