"""A homeserver in a container: created through testcontainers, with its files copied in and one port on loopback."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from greenroom.errors import Died, HarnessError, PortTaken, StartFailed
from greenroom.homeserver.container.archive import pack
from greenroom.homeserver.container.engine import LOOPBACK, Engine, EngineError, asking, publish_address
from greenroom.homeserver.container.image import set_up_reaper
from greenroom.homeserver.container.labels import bring_back, labels_of, remove
from greenroom.homeserver.container.log import LogFollower, tail
from greenroom.homeserver.interface import Backend, Capability, Kind, RunningHomeserver
from greenroom.homeserver.ready import wait_until_ready
from greenroom.homeserver.settings import PORT_TRIES, free_port
from greenroom.processes.process import Command, ManagedProcess, OnSpawn
from greenroom.processes.runs import MARKER
from greenroom.waiting import scaled

T = TypeVar("T")
NAME = "homeserver"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10
MEMORY = "1g"  # Synapse needs 110 MiB empty; a leak in a test should meet a wall before the machine does
PIDS = 512
TAKEN = re.compile(r"port is already allocated|address already in use|ports are not available", re.IGNORECASE)


@dataclass(frozen=True)
class Recipe:
    """What to run: everything that differs between homeservers."""

    kind: Kind
    image: str
    entrypoint: list[str]
    command: list[str]
    port: int  # inside the container
    folder: str  # inside the container: configuration and data, the working directory
    uid: int
    gid: int
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Placement:
    """Where to run it: the engine, the run it belongs to, and where its log and data go on this machine."""

    engine: Engine
    run_id: str
    folder: Path
    log_path: Path
    port: int = 0  # on the engine's machine; 0: we choose
    dies_with_parent: bool = True
    on_spawn: OnSpawn | None = None  # told of the process that writes the log of a container that outlives us

    @property
    def may_be_reaped(self) -> bool:
        """Whether Ryuk may remove it seconds after our death: not if it outlives us, and not if its data is to do so.

        The data of a killed `dev` is brought back by the next one.
        """
        return self.dies_with_parent and not self.run_id.startswith("dev-")


def create_options(recipe: Recipe, placement: Placement) -> dict[str, Any]:
    """Give docker-py's options for a container that may do as little as a homeserver needs."""
    return {
        "entrypoint": recipe.entrypoint,
        "user": f"{recipe.uid}:{recipe.gid}",
        "working_dir": recipe.folder,
        "labels": labels_of(placement.run_id, placement.folder, recipe.folder, outlives=not placement.dies_with_parent),
        "mem_limit": MEMORY,
        "memswap_limit": MEMORY,
        "pids_limit": PIDS,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "healthcheck": {"test": ["NONE"]},  # an image's own would ask every 15 s for nothing: we probe ourselves
        "init": False,
    }


def create_and_start(recipe: Recipe, placement: Placement, address: str, port: int) -> Any:
    """Create a container, copy its files in, start it; give testcontainers' object. Leaves nothing when it fails."""
    from testcontainers.core.container import DockerContainer

    class Container(DockerContainer):
        def _transfer_into_container(self, transferable: Any, destination_in_container: str, mode: int) -> None:
            # testcontainers would pack each file anew, owned by root, which the server's user could not write beside.
            self.get_wrapped_container().put_archive("/", transferable)

    container = Container(recipe.image, docker_client_kw={"timeout": placement.engine.client.api.timeout})
    container.with_envs(**recipe.env).with_command(recipe.command)
    ports: dict[str, Any] = container.ports
    ports[f"{recipe.port}/tcp"] = (
        address,
        port,
    )  # docker-py takes the address too, testcontainers has no way to
    container.with_copy_into_container(pack(recipe.folder, recipe.files, uid=recipe.uid, gid=recipe.gid), "/")
    container.with_kwargs(**create_options(recipe, placement))
    try:
        asking("starting a container", container.start)
    except BaseException:
        with suppress(Exception):
            container.stop()
        raise
    return container


class RunningContainer(RunningHomeserver):
    """A homeserver in a container that has answered at least once.

    Its data lives in the container while that exists; `close` brings it back to `folder`. The port is ours and not
    Docker's choice, because Docker would choose another one at each start and the URL would change.
    """

    backend = Backend.CONTAINER

    def __init__(
        self,
        recipe: Recipe,
        placement: Placement,
        *,
        server_name: str,
        capabilities: frozenset[Capability],
        registration_shared_secret: str | None = None,
        registration_token: str | None = None,
        hint: Callable[[Sequence[str]], str] = lambda tail: "",
    ) -> None:
        self.kind = recipe.kind
        self.server_name = server_name
        self.capabilities = capabilities
        self.registration_shared_secret = registration_shared_secret
        self.registration_token = registration_token
        self.log_path = placement.log_path
        self.url = ""
        self.phases: Mapping[str, float] = {}  # seconds of the latest launch, by what was done
        self._recipe = recipe
        self._placement = placement
        self._hint = hint
        self._container: Any = None
        self._tc: Any = None
        self._follower: LogFollower | None = None
        self._expected_end = False

    @property
    def container_id(self) -> str:
        """The engine's id of the container."""
        return str(self._container.id) if self._container is not None else ""

    def describe(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "server_name": self.server_name,
            "kind": str(self.kind),
            "backend": str(self.backend),
            "log": str(self.log_path),
            "container": self.container_id[:12],
        }

    async def launch(self) -> None:
        """Create the container and return once it answers. Raises StartFailed or PortTaken and leaves nothing then."""
        try:
            began = time.monotonic()
            await _in_thread(self._create)
            created = time.monotonic()
            await self._until_ready()
            self.phases = {"container": created - began, "answering": time.monotonic() - created}
            if not self._placement.dies_with_parent:
                self._leave_a_follower()
        except BaseException:  # also when cancelled by Ctrl-C
            await _in_thread(self._discard)
            raise

    def check_alive(self) -> None:
        if self._follower is not None and not self._follower.ended.is_set():
            return
        state = self._state()
        if state.get("Running"):
            self._follower = self._follow()  # the stream broke, not the container
            return
        raise Died(NAME, self._status(state), log_path=self.log_path, tail=self.log_tail())

    def log_tail(self, lines: int = 15) -> list[str]:
        return tail(self._container, lines) if self._container is not None else []

    async def stop(self) -> None:
        self._expected_end = True
        await _in_thread(self._stop)

    async def kill(self) -> None:
        self._expected_end = True
        await _in_thread(self._kill)

    async def pause(self) -> None:
        await _in_thread(lambda: asking("pausing the homeserver", self._container.pause))

    async def resume(self) -> None:
        await _in_thread(lambda: asking("resuming the homeserver", self._container.unpause))

    async def start_again(self) -> None:
        self._expected_end = False
        await _in_thread(self._start)
        await self._until_ready()

    async def close(self) -> None:
        self._expected_end = True
        await _in_thread(self._close)

    # What follows talks to the engine and blocks; it runs on worker threads.

    def _create(self) -> None:
        placement = self._placement
        address = publish_address(placement.engine)
        set_up_reaper(placement.engine, wanted=placement.may_be_reaped)
        for attempt in range(PORT_TRIES):
            port = placement.port or free_port()
            try:
                self._tc = create_and_start(self._recipe, placement, address, port)
                break
            except EngineError as error:
                if not TAKEN.search(str(error)):
                    raise StartFailed(NAME, str(error), hint="invoke doctor") from None
                if placement.port or attempt == PORT_TRIES - 1:
                    raise PortTaken(NAME, port) from None
        self._container = self._tc.get_wrapped_container()
        reachable = placement.engine.host or LOOPBACK if address == "0.0.0.0" else address  # noqa: S104 - a comparison
        self.url = f"http://{reachable}:{port}"
        self._follower = self._follow()

    def _follow(self) -> LogFollower:
        return LogFollower(self._container, self.log_path if self._placement.dies_with_parent else None)

    def _leave_a_follower(self) -> None:
        """Have the log written on by a process of its own, which ends with the container and not with us."""
        argv = [sys.executable, "-P", "-m", "greenroom.homeserver.container.log", self.container_id, str(self.log_path)]
        env = {**os.environ, MARKER: self._placement.run_id, "DOCKER_HOST": self._placement.engine.url}
        if not env["DOCKER_HOST"]:
            del env["DOCKER_HOST"]
        command = Command("homeserver log", argv, Path.cwd(), env, Path(os.devnull), dies_with_parent=False)
        ManagedProcess(command, on_spawn=self._placement.on_spawn).spawn()

    async def _until_ready(self) -> None:
        timeout_s = scaled(START_TIMEOUT_S)
        try:
            await wait_until_ready(lambda: self.url, self.check_alive, timeout_s)
        except Died as died:
            self._finish_log()
            raise self._failed(died.status) from None
        except TimeoutError as late:
            raise self._failed(f"not ready after {timeout_s:g} s: {late}") from None

    def _failed(self, problem: str) -> StartFailed:
        lines = self.log_tail()
        return StartFailed(NAME, problem, log_path=self.log_path, tail=lines, hint=self._hint(lines))

    def _state(self) -> dict[str, Any]:
        try:
            asking("asking for the homeserver's state", self._container.reload)
        except EngineError as gone:
            return {"Error": str(gone)}
        return dict(self._container.attrs["State"])

    def _status(self, state: Mapping[str, Any]) -> str:
        code = int(state.get("ExitCode", 0))
        how = {137: "signal SIGKILL", 143: "signal SIGTERM"}.get(code, f"exit code {code}")
        if state.get("OOMKilled"):
            how += f", out of its {MEMORY} of memory"
        if state.get("Error"):
            how = str(state["Error"])
        return f"stopped on request ({how})" if self._expected_end else f"ended with {how}"

    def _start(self) -> None:
        port = int(self.url.rpartition(":")[2])
        try:
            asking("starting the homeserver again", self._container.start)
        except EngineError as error:
            if TAKEN.search(str(error)):
                raise PortTaken(NAME, port) from None
            raise StartFailed(NAME, str(error), log_path=self.log_path) from None
        self._follower = self._follow()

    def _stop(self) -> None:
        self._unpause()
        asking("stopping the homeserver", lambda: self._container.stop(timeout=STOP_TIMEOUT_S))
        self._finish_log()

    def _kill(self) -> None:
        self._unpause()
        with suppress(EngineError):  # it may be down already
            asking("killing the homeserver", self._container.kill)
        self._container.wait(timeout=STOP_TIMEOUT_S)
        self._finish_log()

    def _unpause(self) -> None:
        if self._state().get("Paused"):
            asking("resuming the homeserver", self._container.unpause)

    def _finish_log(self) -> None:
        follower, self._follower = self._follower, None  # from here on the engine is asked: a stream may end late
        if follower is not None:
            follower.finish()

    def _close(self) -> None:
        if self._container is None:
            return
        try:
            with suppress(HarnessError):  # a data folder that cannot be read back must not keep the container alive
                asking("bringing the homeserver's data back", lambda: bring_back(self._container))
        finally:
            self._discard()

    def _discard(self) -> None:
        container, self._container = self._container, None
        if container is None:
            return
        try:
            remove(container)
        finally:
            self._finish_log()
            self._tc.get_docker_client().client.close()
            self._placement.engine.close()


async def _in_thread(work: Callable[[], T]) -> T:
    """Do blocking work on a thread; when cancelled, wait for its end first, so that nothing is made behind our back."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.wait([future])
        raise
