"""What every homeserver is to the rest of the harness: before start one type, after start another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from greenroom.errors import CapabilityMissing


class Kind(StrEnum):
    """The software."""

    SYNAPSE = "synapse"
    CONDUIT = "conduit"


class Backend(StrEnum):
    """How it is run."""

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


class RunningHomeserver(ABC):
    """A homeserver that has answered. Loop-agnostic: await its methods from any event loop.

    After `stop` or `kill` it is down until `start_again`; the URL, the accounts and the rooms stay the same.
    """

    kind: Kind
    backend: Backend
    url: str
    server_name: str
    log_path: Path
    capabilities: frozenset[Capability]
    registration_shared_secret: str | None
    registration_token: str | None = None
    phases: Mapping[str, float] = MappingProxyType({})  # of its start, in seconds, where it took several

    def can(self, *wanted: Capability) -> bool:
        """Say whether it can do all of these."""
        return self.capabilities.issuperset(wanted)

    def require(self, *wanted: Capability) -> None:
        """Raise CapabilityMissing, naming the first of these that it cannot do."""
        for capability in wanted:
            if capability not in self.capabilities:
                raise CapabilityMissing(str(capability), self.name)

    @property
    def name(self) -> str:
        """For people: kind and backend."""
        return f"homeserver ({self.kind}, {self.backend})"

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Give what `dev.json` keeps: url, server_name, kind, backend, log, and pid or container."""

    @abstractmethod
    def check_alive(self) -> None:
        """Raise Died with the last log lines unless the server is there."""

    @abstractmethod
    def log_tail(self, lines: int = 15) -> list[str]:
        """Give the last lines of the server's log."""

    @abstractmethod
    async def stop(self) -> None:
        """Shut down cleanly; keep the data."""

    @abstractmethod
    async def kill(self) -> None:
        """Crash it; keep the data."""

    @abstractmethod
    async def pause(self) -> None:
        """Freeze it: connections stay open and nothing is answered."""

    @abstractmethod
    async def resume(self) -> None:
        """Let a paused server go on."""

    @abstractmethod
    async def start_again(self) -> None:
        """Start it after `stop` or `kill`, with the same URL and data; return when it answers."""

    @abstractmethod
    async def close(self) -> None:
        """End it for good and release what it holds. Safe to call twice."""

    async def restart(self) -> None:
        """Stop cleanly and start again at the same URL; return when it answers."""
        await self.stop()
        await self.start_again()


class Homeserver(ABC):
    """A homeserver that has not been started."""

    kind: Kind
    backend: Backend
    capabilities: frozenset[Capability]

    @abstractmethod
    async def start(self) -> RunningHomeserver:
        """Start it and return once it answers. Raises StartFailed or PortTaken, and leaves nothing running then."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningHomeserver]:
        """Start it for the length of an `async with`."""
        server = await self.start()
        try:
            yield server
        finally:
            await server.close()


def describe_capabilities(capabilities: Iterable[Capability]) -> str:
    """List capabilities for a person, in a fixed order."""
    return ", ".join(sorted(str(capability) for capability in capabilities))
