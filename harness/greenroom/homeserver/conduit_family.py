"""How Conduit and its relatives run: in a container, configured by their environment.

The relatives have inherited Conduit's settings and read them under a prefix of their own. So one function renders the
settings of all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenroom.homeserver.kind import Recipe
from greenroom.homeserver.settings import HomeserverSettings, Secrets, read_files

UID = 1000  # any number but root's: the data folder belongs to it


@dataclass(frozen=True)
class Relative:
    """What one member of the family has for itself."""

    prefix: str  # of its variables
    folder: str  # its data, inside the container
    port: int
    own: Callable[[Secrets], Mapping[str, Any]]  # the settings that not every member has
    entrypoint: tuple[str, ...] = ()  # empty: its image's own
    variables: Mapping[str, str] = field(default_factory=dict)  # beside its settings

    def recipe(self, image: str, settings: HomeserverSettings, secrets: Secrets, data: Path) -> Recipe:
        """Return how to run it; data that an earlier container left in `data` goes in again."""
        return Recipe(
            image=image,
            entrypoint=list(self.entrypoint),
            command=[],
            port=self.port,
            folder=self.folder,
            uid=UID,
            gid=UID,
            files=read_files(data, sorted(data.rglob("*"))),
            env=self.environment(settings, secrets),
        )

    def environment(self, settings: HomeserverSettings, secrets: Secrets) -> dict[str, str]:
        """Render the environment of a container. `settings.extra` holds fields of the `[global]` section."""
        values: dict[str, Any] = {
            "server_name": settings.server_name,
            "database_path": self.folder,
            "address": "0.0.0.0",  # noqa: S104 - inside its own network; published on loopback only
            "port": self.port,
            "max_request_size": 20_000_000,  # in bytes; below it media tests fail
            "allow_registration": True,
            "registration_token": secrets.registration_shared_secret,  # others who find the port get no account
            "allow_federation": False,  # a test server has no peers
            "trusted_servers": [],
            "log": _log_filter(settings.log_level),
            # In quotes, because the server reads 11 as a number and then finds no text.
            **({"default_room_version": json.dumps(settings.room_version)} if settings.room_version else {}),
            **self.own(secrets),
            **settings.extra,
        }
        named = {f"{self.prefix}_{name.upper()}": _text(value) for name, value in values.items()}
        return {**self.variables, **named}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _log_filter(level: str) -> str:
    return {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error"}.get(level.upper(), "info")
