"""What every homeserver is to the rest of the harness: one type before it starts, another type after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from greenroom.errors import CapabilityMissing, Misuse
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.processes.runs import NO_RUN, Run

if TYPE_CHECKING:
    from greenroom.homeserver.federation import FederationProxy


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
    FEDERATION = "federation with another homeserver"
    SNAPSHOT = "copying its data while it runs"


@dataclass(frozen=True)
class Missing:
    """Why a homeserver lacks a capability, and what stands in for it. Both are parts of one message."""

    reason: str  # a clause: "Conduit has no admin API"
    instead: str  # what a person can do, behind "Try:"


def require(wanted: Iterable[Capability], missing: Mapping[Capability, Missing], homeserver: str) -> None:
    """Raise CapabilityMissing, with its reason, for the first of the `wanted` ones that is missing."""
    for capability in wanted:
        if lack := missing.get(capability):
            raise CapabilityMissing(str(capability), homeserver, lack.reason, lack.instead)


@dataclass(frozen=True)
class Registration:
    """How accounts are made on a server: `way` is SHARED_SECRET_REGISTRATION or REGISTRATION_TOKEN."""

    way: Capability
    secret: str = field(repr=False)
    url: str = ""  # where accounts are made, if not at the homeserver's URL


class RunningHomeserver(ABC):
    """A homeserver that has answered. Loop-agnostic: await its methods from any event loop.

    After `stop` or `kill` it is down until `start_again`; the URL, the accounts and the rooms stay the same.
    """

    kind: str
    backend: Backend
    url: str
    server_name: str
    log_path: Path
    missing: Mapping[Capability, Missing]  # what it cannot do; it can do everything else
    registration: Registration | None
    phases: Mapping[str, float] = MappingProxyType({})  # of its start, in seconds, where it took several
    slow_because: str = ""  # why its latest start was a plain one, where a warm parent would have been quicker
    manners: tuple[str, ...] = ()  # of another homeserver, as far as a proxy in front of this one goes
    federation: FederationProxy | None = None  # the way to its peers; only with Capability.FEDERATION
    _seeded: Any = None

    def can(self, *wanted: Capability) -> bool:
        """Return whether the server can do all of these."""
        return self.missing.keys().isdisjoint(wanted)

    def require(self, *wanted: Capability) -> None:
        """Raise CapabilityMissing, with its reason, for the first of these that the server cannot do."""
        require(wanted, self.missing, self.name)

    def join_federation(self, proxy: FederationProxy) -> None:
        """Note the proxy through which this server was started to reach others. Now it can federate."""
        self.federation = proxy
        self.missing = {one: lack for one, lack in self.missing.items() if one is not Capability.FEDERATION}

    def note_seeded(self, seeded: Any) -> None:
        """Note what a blueprint has made on this server."""
        self._seeded = seeded

    @property
    def is_seeded(self) -> bool:
        """Whether the server was started with a blueprint."""
        return self._seeded is not None

    @property
    def seeded(self) -> Any:
        """What a blueprint has made on this server, as `greenroom.seed.Seeded`. Raises Misuse if it made nothing."""
        if not self.is_seeded:
            raise Misuse(f"{self.name} was started without a blueprint, so nothing is seeded on it")
        return self._seeded

    @contextmanager
    def federated_with(self, *others: RunningHomeserver) -> Iterator[None]:
        """Let this server and each of the others find each other for the length of a `with`.

        Raises CapabilityMissing if one of them cannot federate.
        """
        ways = self._ways(others)
        for proxy, peer in ways:
            proxy.connect(peer.server_name, partial(getattr, peer, "url"))  # as it is then
        try:
            yield
        finally:
            for proxy, peer in ways:
                proxy.disconnect(peer.server_name)

    @contextmanager
    def cut_off(self, *others: RunningHomeserver) -> Iterator[None]:
        """Cut the way between this server and each of the others, in both directions, for the length of a `with`.

        Each of them finds the other away; their own clients notice nothing. Afterwards they reach each other within a
        second. Raises CapabilityMissing if one of them cannot federate.
        """
        ways = self._ways(others)
        for proxy, peer in ways:
            proxy.cut(peer.server_name)
        try:
            yield
        finally:
            for proxy, peer in ways:
                proxy.restore(peer.server_name)

    def _ways(self, others: Iterable[RunningHomeserver]) -> list[tuple[FederationProxy, RunningHomeserver]]:
        """Return the ways between this server and others: a proxy, and the server at its other end."""
        ways = []
        for one, two in [pair for other in others for pair in ((self, other), (other, self))]:
            one.require(Capability.FEDERATION)
            assert one.federation is not None, "a server with this capability has joined"
            ways.append((one.federation, two))
        return ways

    @property
    def name(self) -> str:
        """The server in words: its kind and backend."""
        manners = f", manners of {', '.join(self.manners)}" if self.manners else ""
        return f"homeserver ({self.kind}, {self.backend}{manners})"

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
    async def copy_data(self, folder: Path) -> None:
        """Copy the data of this server, which runs or was stopped, into an empty folder: a new server can start there.

        The copy has what the server's own folder holds between two runs, secrets and database and media, and nothing
        that is written anew at each start. Uploads that are under way may be missing. Raises CapabilityMissing.
        """

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
    federates = False  # whether `settings.federation` can be carried out

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the exact version of the installed software."""

    @classmethod
    @abstractmethod
    def check_installed(cls) -> None:
        """Raise Unavailable, with a cure, unless the server's software is on this machine."""

    @classmethod
    def begun_ahead(cls) -> AbstractContextManager[None]:
        """Begin what the first start of such a homeserver waits for, without waiting. It ends with the block."""
        return nullcontext()
