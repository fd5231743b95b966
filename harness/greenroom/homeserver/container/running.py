"""A homeserver that runs in a container: wait for it, stop it, kill it, bring its data back."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from greenroom.errors import Died, HarnessError, PortTaken, StartFailed
from greenroom.homeserver.container.create import MEMORY, Placement, create_and_start
from greenroom.homeserver.container.engine import LOOPBACK, EngineError, asking, publish_address
from greenroom.homeserver.container.image import set_up_reaper
from greenroom.homeserver.container.labels import bring_back, copy_out, remove
from greenroom.homeserver.container.log import LogFollower, tail
from greenroom.homeserver.interface import Backend, Capability, Registration, RunningHomeserver
from greenroom.homeserver.kind import HomeserverKind, Recipe
from greenroom.homeserver.ready import wait_until_ready
from greenroom.homeserver.settings import PORT_TRIES, SECRETS_FILE, HomeserverSettings, Secrets, free_port
from greenroom.homeserver.sqlite import compact_databases
from greenroom.processes.process import Command, ManagedProcess
from greenroom.spelling import command

T = TypeVar("T")
NAME = "homeserver"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10
TAKEN = re.compile(r"port is already allocated|address already in use|ports are not available", re.IGNORECASE)


class RunningContainer(RunningHomeserver):
    """A homeserver in a container that has answered at least once.

    The server's data lives in the container; `close` copies it back to the placement's folder. We choose the port,
    because Docker would choose another one at each start and the URL would change.
    """

    backend = Backend.CONTAINER

    def __init__(
        self, kind: HomeserverKind, recipe: Recipe, placement: Placement, settings: HomeserverSettings, secrets: Secrets
    ) -> None:
        self.kind = kind.name
        self._kind, self._secrets = kind, secrets
        self.server_name = settings.server_name
        self.missing = {**kind.missing, **kind.lacks(settings)}
        self.registration = Registration(kind.registration, secrets.registration_shared_secret)
        self.log_path = placement.log_path
        self.url = ""
        self.phases: Mapping[str, float] = {}  # of the latest launch, in seconds
        self._recipe = recipe
        self._placement = placement
        self._container: Any = None
        self._tc: Any = None
        self._follower: LogFollower | None = None
        self._expected_end = False

    @property
    def container_id(self) -> str:
        """The engine's id of the container."""
        return str(self._container.id) if self._container is not None else ""

    @property
    def handle(self) -> Mapping[str, Any]:
        return {"container": self.container_id[:12]}

    async def launch(self) -> None:
        """Create the container; return once the server answers. StartFailed and PortTaken leave nothing behind."""
        try:
            began = time.monotonic()
            await in_thread(self._create)
            created = time.monotonic()
            await self._until_ready()
            self.phases = {"container": created - began, "answering": time.monotonic() - created}
            if not self._placement.dies_with_parent:
                self._leave_a_follower()
        except BaseException:  # also when cancelled by Ctrl-C
            await in_thread(self._discard)
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

    def _happened(self, what: str) -> None:
        self._placement.run.happened(self.log_path, what)

    async def stop(self) -> None:
        self._happened("stopped")
        self._expected_end = True
        await in_thread(self._stop)

    async def kill(self) -> None:
        self._happened("killed")
        self._expected_end = True
        await in_thread(self._kill)

    async def pause(self) -> None:
        self._happened("frozen")
        await in_thread(lambda: asking("pausing the homeserver", self._container.pause))

    async def resume(self) -> None:
        self._happened("continued")
        await in_thread(lambda: asking("resuming the homeserver", self._container.unpause))

    async def start_again(self) -> None:
        self._expected_end = False
        await in_thread(self._start)
        self._happened("started")
        await self._until_ready()

    async def copy_data(self, folder: Path) -> None:
        """Copy what the container holds. It is frozen meanwhile, so the copy is as after a crash at one moment.

        Databases recover from that by what their log says, and SQLite's are then rewritten as one small file each.
        """
        self.require(Capability.SNAPSHOT)
        await in_thread(lambda: self._copy_data(folder))

    async def close(self) -> None:
        self._expected_end = True
        await in_thread(self._close)

    # The methods below wait for the engine, so they run on worker threads.

    def _create(self) -> None:
        placement = self._placement
        address = LOOPBACK if self._recipe.host_network else publish_address(placement.engine)
        if self._recipe.host_network and placement.engine.is_remote:
            problem = f"the engine at {placement.engine.host} cannot reach an application service on this machine"
            raise StartFailed(NAME, problem, hint="--backend process")
        set_up_reaper(placement.engine, wanted=placement.may_be_reaped)
        for attempt in range(PORT_TRIES):
            port = self._recipe.port if self._recipe.host_network else placement.port or free_port()
            try:
                self._tc = create_and_start(self._recipe, placement, address, port)
                break
            except EngineError as error:
                if not TAKEN.search(str(error)):
                    raise StartFailed(NAME, str(error), hint=command("doctor")) from None
                if placement.port or attempt == PORT_TRIES - 1:
                    raise PortTaken(NAME, port) from None
        self._container = self._tc.get_wrapped_container()
        reachable = placement.engine.host or LOOPBACK if address == "0.0.0.0" else address  # noqa: S104 - a comparison
        self.url = f"http://{reachable}:{port}"
        self._follower = self._follow()

    def _follow(self) -> LogFollower:
        return LogFollower(self._container, self.log_path if self._placement.dies_with_parent else None)

    def _leave_a_follower(self) -> None:
        """Start a process that follows the log. It ends with the container and not with us."""
        argv = [sys.executable, "-P", "-m", "greenroom.homeserver.container.log", self.container_id, str(self.log_path)]
        env = {**os.environ, "DOCKER_HOST": self._placement.engine.url}
        if not env["DOCKER_HOST"]:
            del env["DOCKER_HOST"]
        command = Command("homeserver log", argv, Path.cwd(), env, Path(os.devnull), dies_with_parent=False)
        ManagedProcess(command, run=self._placement.run).spawn()

    async def _until_ready(self) -> None:
        try:
            await wait_until_ready(lambda: self.url, self.check_alive, START_TIMEOUT_S)
        except Died as error:
            self._finish_log()
            raise self._failed(error.status) from None
        except TimeoutError as error:
            raise self._failed(str(error)) from None

    def _failed(self, problem: str) -> StartFailed:
        lines = self.log_tail()
        return StartFailed(NAME, problem, log_path=self.log_path, tail=lines, hint=self._kind.hint(lines))

    def _state(self) -> dict[str, Any]:
        try:
            asking("asking for the homeserver's state", self._container.reload)
        except EngineError as error:
            return {"Error": str(error)}
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
        with suppress(EngineError):  # the container may have ended already
            asking("killing the homeserver", self._container.kill)
        self._container.wait(timeout=STOP_TIMEOUT_S)
        self._finish_log()

    def _copy_data(self, folder: Path) -> None:
        data = folder / self._kind.data
        asking("copying the homeserver's data", lambda: copy_out(self._container, data))
        tidy_copy(folder, self._kind, self._secrets)

    def _unpause(self) -> None:
        if self._state().get("Paused"):
            asking("resuming the homeserver", self._container.unpause)

    def _finish_log(self) -> None:
        follower, self._follower = self._follower, None  # from now on ask the engine: a stream may end late
        if follower is not None:
            follower.finish()

    def _close(self) -> None:
        if self._container is None:
            return
        try:
            with suppress(HarnessError):  # even if the data cannot be copied back, the container is removed
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


def tidy_copy(folder: Path, kind: HomeserverKind, secrets: Secrets) -> None:
    """Make a copy of a server's data, as after a crash, what `RunningHomeserver.copy_data` promises."""
    data = folder / kind.data
    for pattern in kind.configuration:
        for path in data.glob(pattern):
            path.unlink()
    compact_databases(data)
    secrets.write(folder / SECRETS_FILE)


async def in_thread(work: Callable[[], T]) -> T:
    """Do blocking work on a thread. When cancelled, wait for the work first, so that it creates nothing afterwards."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.wait([future])
        raise
