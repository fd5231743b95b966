"""Containers with a warm parent in them, which the runs of one `head` share (see `runs.Run`): find or create them.

Each publishes a few ports for its homeservers. The engine takes some 35 ms for each port, so the first container has
few, and the start of the first homeserver is no slower for it; if they do not suffice, the next container has more.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from greenroom.homeserver.container.archive import pack
from greenroom.homeserver.container.create import Placement, create_options
from greenroom.homeserver.container.engine import LOOPBACK, Engine, EngineError, asking, publish_address
from greenroom.homeserver.container.labels import CREATOR
from greenroom.homeserver.container.running import TAKEN, in_thread
from greenroom.homeserver.kind import HomeserverKind, Recipe
from greenroom.homeserver.settings import PORT_TRIES, HomeserverSettings, Secrets, free_port, replace_text
from greenroom.homeserver.synapse_config import VERSION
from greenroom.homeserver.warm import contained, parent
from greenroom.homeserver.warm.client import SWITCH, NotWarm, locked
from greenroom.homeserver.warm.remote import Address, Gone, RemoteConnection
from greenroom.processes.runs import Head, RecordedRun, Run

POOLS = (8, 16)  # ports for homeservers in each container, in turn
MEMORY = "4g"  # of all homeservers in one container
PIDS = 2048
OPTIONS = "parent.json"
PACKAGE = "greenroom/homeserver/warm"  # in the container, of `contained` and what it imports
STATE = "state.json"


@dataclass(frozen=True)
class WarmContainer:
    """A container with a warm parent, as noted for all who share it."""

    container_id: str
    host: str
    port: int
    secret: str

    @property
    def address(self) -> Address:
        """Where its parent listens."""
        return Address(self.host, self.port, self.secret)


@dataclass(frozen=True)
class Lease:
    """A connection to a warm container, with a port for one homeserver."""

    container: WarmContainer
    connection: RemoteConnection
    port: int


_present: dict[WarmContainer, RemoteConnection] = {}  # of this process: what keeps each parent alive
_lock = threading.Lock()  # of those


def check_possible(engine: Engine, environ: Mapping[str, str] = os.environ) -> None:
    """Raise NotWarm where warm containers are switched off, or were not tried."""
    if environ.get(SWITCH) == "0":
        raise NotWarm(f"{SWITCH}=0")
    if engine.is_remote:
        raise NotWarm("warm containers were not tried on another machine")


class WarmContainers:
    """The warm containers of one head, in one engine, of one image."""

    def __init__(self, engine: Engine, kind: HomeserverKind, image: str, head: Head) -> None:
        self._engine = engine
        self._kind = kind
        self._image = image
        self._head = head
        which = hashlib.sha256(f"{engine.url} {image} {contained.__file__}".encode()).hexdigest()[:8]
        self._folder = head.shared(f"-{which}")

    async def lease(self) -> Lease:
        """Return a connection with a port for one homeserver. Raises NotWarm."""
        made: list[Lease] = []
        try:
            await in_thread(lambda: made.append(self._lease()))
        except asyncio.CancelledError:
            for lease in made:
                lease.connection.close()
            raise
        return made[0]

    # The methods below wait for the engine, so they run on worker threads.

    def connect(self) -> RemoteConnection:
        """Return a connection without a port. Raises NotWarm."""
        return self._connect(0)[1]

    def _lease(self) -> Lease:
        for number in range(len(POOLS)):
            found, connection = self._connect(number)
            try:
                port = connection.lease()
            except (EOFError, OSError):
                connection.close()
                raise NotWarm("the warm container ended just now") from None
            if port:
                return Lease(found, connection, port)
            connection.close()
        raise NotWarm(f"all {sum(POOLS)} ports of the warm containers are in use")

    def _connect(self, number: int) -> tuple[WarmContainer, RemoteConnection]:
        """Connect to the container of that number; create it if there is none."""
        while True:
            found, is_new = self._find(number)
            try:
                _be_present(found)
                connection = RemoteConnection.open(found.address)
                break
            except Gone:
                if is_new:
                    self._note_failure("the warm parent ended while it imported Synapse")
            except NotWarm as reason:
                if is_new:
                    self._note_failure(str(reason))
                raise
        if connection.version != VERSION:
            connection.close()
            self._note_failure(f"warm starts are tested with Synapse {VERSION}, and this is {connection.version}")
        return found, connection

    def _find(self, number: int) -> tuple[WarmContainer, bool]:
        """Return the container of that number, and whether it is new. Others who look for it wait meanwhile."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with locked(self._folder):
                state = read_state(self._folder)
                known = [WarmContainer(**each) for each in state.get("containers", ())]
                if number < len(known):
                    if _listens(known[number]):
                        return known[number], False
                    _forget(known[number])
                if reason := state.get("failed"):
                    raise NotWarm(reason)
                made = self._create(POOLS[number])
                containers = [*known[:number], made, *known[number + 1 :]]
                _write_state(self._folder, {"containers": [asdict(each) for each in containers]})
                return made, True
        except EngineError as error:
            self._note_failure(f"no warm container can be started: {error}")
        except OSError as error:
            raise NotWarm(f"no warm container can be started: {error}") from None

    def _note_failure(self, reason: str) -> NoReturn:
        """Raise NotWarm, now and at every later start: it would fail as slowly again."""
        with locked(self._folder):
            _write_state(self._folder, {**read_state(self._folder), "failed": reason})
        raise NotWarm(reason)

    def _create(self, pool: int) -> WarmContainer:
        RecordedRun(self._folder.name, self._folder, engines={self._engine.url}).save()  # for a sweep after a crash
        address = publish_address(self._engine)
        for _ in range(PORT_TRIES):
            control, *ports = _free_ports(1 + pool)
            secret = secrets.token_urlsafe(32)
            recipe = self._recipe({"secret": secret, "control": control, "pool": ports})
            try:
                container_id = self._run(recipe, {f"{port}/tcp": (address, port) for port in (control, *ports)})
            except EngineError as error:
                if not TAKEN.search(str(error)):
                    raise
            else:
                reachable = LOOPBACK if address == "0.0.0.0" else address  # noqa: S104 - a comparison
                return WarmContainer(container_id, reachable, control, secret)
        raise NotWarm("other programs took the ports of a warm container")

    def _recipe(self, options: Mapping[str, Any]) -> Recipe:
        plain = self._kind.recipe(self._image, HomeserverSettings(), Secrets.fresh(), self._folder)
        programs = {
            f"{PACKAGE}/{Path(path).name}": Path(path).read_bytes() for path in (contained.__file__, parent.__file__)
        }
        return Recipe(
            image=plain.image,
            entrypoint=["python", "-m", PACKAGE.replace("/", ".") + ".contained"],
            command=[f"{plain.folder}/{OPTIONS}"],
            port=options["control"],
            folder=plain.folder,
            uid=plain.uid,
            gid=plain.gid,
            files={**programs, OPTIONS: json.dumps(options).encode()},
            env=plain.env,
        )

    def _run(self, recipe: Recipe, ports: Mapping[str, Any]) -> str:
        """Create and start a container; return its id. A failure leaves nothing.

        Not by testcontainers: its label would let Ryuk remove the container with the process that has made it, and
        others share it.
        """
        placement = Placement(self._engine, Run(self._folder.name), self._folder, self._folder / "log")
        options = create_options(recipe, placement)
        options["labels"] = {**options["labels"], CREATOR: f"{self._head.process.pid} {self._head.process.started}"}
        options |= {"mem_limit": MEMORY, "memswap_limit": MEMORY, "pids_limit": PIDS, "auto_remove": True}
        options |= {"command": recipe.command, "environment": dict(recipe.env), "ports": dict(ports)}
        create = self._engine.client.containers.create
        made = asking("creating a warm container", lambda: create(recipe.image, **options))
        try:
            files = pack(recipe.folder, recipe.files, uid=recipe.uid, gid=recipe.gid)
            asking("copying files into a warm container", lambda: made.put_archive("/", files))
            asking("starting a warm container", made.start)
        except BaseException:
            with suppress(Exception):
                made.remove(force=True, v=True)
            raise
        return str(made.id)


def _be_present(container: WarmContainer) -> None:
    """Keep a parent alive as long as this process lives, also while it runs no homeserver."""
    with _lock:
        if container not in _present:
            _present[container] = RemoteConnection.open(container.address)
            _present[container].be_present()


@atexit.register
def _leave() -> None:
    with _lock:
        while _present:
            _present.popitem()[1].close()


def _forget(container: WarmContainer) -> None:
    with _lock:
        if gone := _present.pop(container, None):
            gone.close()


def end_idle_containers(head: Head) -> None:
    """End the warm containers for `head` that nobody else uses. The engine removes each a moment later."""
    for folder in head.all_shared("-*"):
        known = [WarmContainer(**each) for each in read_state(folder).get("containers", ())]
        ended = [_end_idle(container) for container in known]
        if all(ended):
            shutil.rmtree(folder, ignore_errors=True)


def _end_idle(container: WarmContainer) -> bool:
    """End a warm container if this process is the only one that uses it; return whether it has ended."""
    with _lock:
        connection = _present.pop(container, None)
    try:
        connection = connection or RemoteConnection.open(container.address)
    except Gone:
        return True
    except NotWarm:
        return False
    try:
        return connection.end_parent()
    finally:
        connection.close()


def read_state(folder: Path) -> dict[str, Any]:
    """Return what is noted of the warm containers in a folder: `containers`, and `failed` if they cannot be had."""
    try:
        return dict(json.loads((folder / STATE).read_text()))
    except FileNotFoundError:
        return {}


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    replace_text(folder / STATE, json.dumps(state))


def _listens(container: WarmContainer) -> bool:
    """Return whether the engine still publishes a container's port: it does until the container has ended."""
    with suppress(OSError), socket.create_connection((container.host, container.port), 2.0):
        return True
    return False


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)
