"""A homeserver that a warm parent has forked in a container."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from greenroom.errors import HarnessError, StartFailed
from greenroom.homeserver.container.archive import pack, unpack
from greenroom.homeserver.container.running import START_TIMEOUT_S, in_thread, tidy_copy
from greenroom.homeserver.container.warm import Lease
from greenroom.homeserver.interface import Backend, Capability, Registration
from greenroom.homeserver.kind import HomeserverKind
from greenroom.homeserver.ready import wait_until_ready
from greenroom.homeserver.settings import HomeserverSettings, Secrets
from greenroom.homeserver.supervised import SupervisedHomeserver
from greenroom.homeserver.synapse_config import CONFIG_FILE
from greenroom.homeserver.warm.client import NotWarm
from greenroom.homeserver.warm.remote import Gone, RemoteProcess
from greenroom.processes.process import Command
from greenroom.processes.runs import Run

NAME = "homeserver"
PROGRAM = ("python", "-m", "synapse.app.homeserver", "--config-path")


@dataclass(frozen=True)
class WarmPlacement:
    """Where such a homeserver runs, and the places of its log and data on this machine."""

    lease: Lease
    inside: str  # its folder in the container
    folder: Path
    log_path: Path
    run: Run


class RunningWarm(SupervisedHomeserver):
    """A homeserver among others in a container, each with a port and a folder there.

    Its data lives in the container while its connection to the parent is open; `close` copies it back first.
    """

    backend = Backend.CONTAINER

    def __init__(
        self,
        kind: HomeserverKind,
        placement: WarmPlacement,
        files: Mapping[str, bytes],
        settings: HomeserverSettings,
        secrets: Secrets,
    ) -> None:
        self.kind = kind.name
        self._kind, self._secrets = kind, secrets
        self.server_name = settings.server_name
        self.missing = {**kind.missing, **kind.lacks(settings)}
        self.registration = Registration(kind.registration, secrets.registration_shared_secret)
        self.log_path = placement.log_path
        lease = placement.lease
        self.url = f"http://{lease.container.host}:{lease.port}"
        self._placement = placement
        self._files = files
        self._connection = lease.connection
        self._closed = False
        self._paused = False
        inside = PurePosixPath(placement.inside)
        argv = [*PROGRAM, str(inside / CONFIG_FILE)]
        self._process = RemoteProcess(Command(NAME, argv, Path(inside), {}, placement.log_path), run=placement.run)

    @property
    def container_id(self) -> str:
        """The engine's id of the container, which it shares."""
        return self._placement.lease.container.container_id

    @property
    def handle(self) -> Mapping[str, Any]:
        return {"container": self.container_id[:12]}

    async def launch(self) -> None:
        """Start with the files given; return once the server answers. StartFailed leaves nothing behind."""
        try:
            await self._start(pack("", self._files, uid=0, gid=0))
        except BaseException:  # also when cancelled by Ctrl-C
            self._connection.close()
            raise
        self._files = {}

    async def pause(self) -> None:
        self._paused = True
        await super().pause()

    async def resume(self) -> None:
        self._paused = False
        await super().resume()

    async def start_again(self) -> None:
        self._paused = False
        await self._start()

    async def copy_data(self, folder: Path) -> None:
        """Copy its folder in the container. It is frozen meanwhile, so the copy is as after a crash at one moment."""
        self.require(Capability.SNAPSHOT)
        await in_thread(lambda: self._copy_data(folder))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._process.stop(timeout_s=5.0)
            if self._placement.folder.is_dir():
                with suppress(Gone, NotWarm, EOFError, OSError):  # if the parent has died, the data is lost with it
                    await in_thread(self._bring_back)
        finally:
            self._connection.close()

    def _bring_back(self) -> None:
        unpack(self._connection.fetch(self._placement.inside), self._placement.folder)

    def _copy_data(self, folder: Path) -> None:
        data = folder / self._kind.data
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            unpack(self._connection.copy(self._placement.inside), data)
        except (Gone, NotWarm, EOFError, OSError) as error:
            raise HarnessError(f"the data of the {self.name} cannot be copied: its container has ended") from error
        finally:
            if not self._paused:
                self._process.resume()
        tidy_copy(folder, self._kind, self._secrets)

    async def _start(self, files: bytes = b"") -> None:
        try:
            async with self._starting(NAME):
                await in_thread(lambda: self._process.spawn(partial(self._connection.fork, files=files)))
                await wait_until_ready(lambda: self.url, self._process.check_alive, START_TIMEOUT_S)
        except (Gone, NotWarm, EOFError, OSError) as error:
            problem = "its container has ended, and its data with it"
            raise StartFailed(NAME, problem, log_path=self.log_path) from error

    def _hint(self, log: str) -> str:
        return self._kind.hint(log.splitlines())
