"""What every homeserver is to the rest of the harness: one type before it starts, another type after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from greenroom.errors import CapabilityMissing
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.processes.runs import NO_RUN, Run


class Backend(StrEnum):
    """How a homeserver runs."""

    PROCESS = "process"
    CONTAINER = "container"
    EXTERNAL = "external"


class Capability(StrEnum):
    """What a running homeserver can do. Code asks for one of these and never for a kind or backend."""

    ADMIN_API = "Synapse's admin API"
    SHARED_SECRET_REGISTRATION = "registration by shared secret"  # noqa: S105 - a name, no secret
    REGISTRATION_TOKEN = "registration by token"  # noqa: S105 - a name, no secret
    STOP = "stopping and starting again at the same URL"
    KILL = "killing the server like a crash"
    PAUSE = "freezing the server"
    RATE_LIMITS = "choosing rate limits"
    RATE_LIMITS_PER_USER = "rate limits per user"
    ROOM_UPGRADE = "room upgrades"
    APPSERVICES = "application services"


@dataclass(frozen=True)
class Registration:
    """How accounts are made on a server: `way` is SHARED_SECRET_REGISTRATION or REGISTRATION_TOKEN."""

    way: Capability
    secret: str = field(repr=False)


class RunningHomeserver(ABC):
    """A homeserver that has answered. Loop-agnostic: await its methods from any event loop.

    After `stop` or `kill` it is down until `start_again`; the URL, the accounts and the rooms stay the same.
    """

    kind: str
    backend: Backend
    url: str
    server_name: str
    log_path: Path
    capabilities: frozenset[Capability]
    registration: Registration | None
    phases: Mapping[str, float] = MappingProxyType({})  # of its start, in seconds, where it took several

    def can(self, *wanted: Capability) -> bool:
        """Return whether the server can do all of these."""
        return self.capabilities.issuperset(wanted)

    def require(self, *wanted: Capability) -> None:
        """Raise CapabilityMissing, naming the first of these that the server cannot do."""
        for capability in wanted:
            if capability not in self.capabilities:
                raise CapabilityMissing(str(capability), self.name)

    @property
    def name(self) -> str:
        """The server in words: its kind and backend."""
        return f"homeserver ({self.kind}, {self.backend})"

    @property
    def handle(self) -> Mapping[str, Any]:
        """What finds the server on this machine: `pid` or `container`; empty for somebody else's."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return what `dev.json` keeps: url, server_name, kind, backend, log, and pid or container."""
        return {
            "url": self.url,
            "server_name": self.server_name,
            "kind": self.kind,
            "backend": str(self.backend),
            "log": str(self.log_path),
            **self.handle,
        }

    @abstractmethod
    def check_alive(self) -> None:
        """Raise Died with the last log lines unless the server runs."""

    @abstractmethod
    def log_tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of the server's log."""

    @abstractmethod
    async def stop(self) -> None:
        """Shut down cleanly; keep the data."""

    @abstractmethod
    async def kill(self) -> None:
        """Crash the server; keep the data."""

    @abstractmethod
    async def pause(self) -> None:
        """Freeze the server: connections stay open and nothing is answered."""

    @abstractmethod
    async def resume(self) -> None:
        """Continue a paused server."""

    @abstractmethod
    async def start_again(self) -> None:
        """Start after `stop` or `kill`, with the same URL and data; return when the server answers."""

    @abstractmethod
    async def close(self) -> None:
        """End the server for good and release what it holds. Safe to call twice."""

    async def restart(self) -> None:
        """Stop cleanly and start again at the same URL; return when the server answers."""
        await self.stop()
        await self.start_again()


class Homeserver(ABC):
    """A homeserver that has not been started. Its secrets and data live in `folder`, which is made or reused.

    `run` notes what the server starts. With `dies_with_parent=False` the server outlives this process.
    """

    backend: Backend

    def __init__(
        self,
        folder: Path,
        settings: HomeserverSettings | None = None,
        *,
        log_path: Path | None = None,
        run: Run = NO_RUN,
        dies_with_parent: bool = True,
    ) -> None:
        self.folder = folder
        self.settings = settings or HomeserverSettings()
        self.log_path = log_path or folder / "homeserver.log"
        self._run = run
        self._dies_with_parent = dies_with_parent

    @abstractmethod
    async def start(self) -> RunningHomeserver:
        """Start the server and return once it answers. Raises StartFailed or PortTaken, and then nothing is left."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningHomeserver]:
        """Run the server for the length of an `async with`."""
        server = await self.start()
        try:
            yield server
        finally:
            await server.close()


class ProcessHomeserver(Homeserver):
    """A homeserver that will run as a child process."""

    backend = Backend.PROCESS

    @classmethod
    @abstractmethod
    def check_installed(cls) -> None:
        """Raise Unavailable, with a cure, unless the server's software is on this machine."""
