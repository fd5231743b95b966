"""Conduit's configuration, wholly in CONDUIT_* variables, rendered by one pure function."""

from __future__ import annotations

import json
from typing import Any

from harness.errors import CapabilityMissing
from harness.homeserver.interface import Capability
from harness.homeserver.settings import HomeserverSettings

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
