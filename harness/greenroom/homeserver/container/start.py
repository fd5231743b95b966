"""What every homeserver in a container needs before it runs: engine, image, secrets, the data of its last run."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenroom.homeserver.container.create import Placement
from greenroom.homeserver.container.engine import Engine, connect
from greenroom.homeserver.container.image import ensure_image
from greenroom.homeserver.container.running import RunningContainer
from greenroom.homeserver.container.warm import WarmContainers, check_possible
from greenroom.homeserver.container.warm_running import RunningWarm, WarmPlacement
from greenroom.homeserver.container.warm_template import empty_database
from greenroom.homeserver.interface import Backend, Homeserver, RunningHomeserver
from greenroom.homeserver.kind import HomeserverKind
from greenroom.homeserver.settings import SECRETS_FILE, HomeserverSettings, Secrets
from greenroom.homeserver.synapse_config import DATABASE_FILE
from greenroom.homeserver.warm.client import NotWarm
from greenroom.processes.runs import Run


class ContainerHomeserver(Homeserver):
    """A homeserver of any kind that will run in a container. Between its runs its data lies below `folder`."""

    backend = Backend.CONTAINER

    def __init__(
        self,
        folder: Path,
        *arguments: Any,
        kind: HomeserverKind,
        connect: Callable[[], Engine] = connect,
        **options: Any,
    ) -> None:
        super().__init__(folder, *arguments, **options)
        self.kind = kind
        self._connect = connect

    @property
    def data_folder(self) -> Path:
        """Where the container's data lies on this machine while there is no container."""
        return self.folder / self.kind.data

    async def start(self) -> RunningHomeserver:
        """Start it in a container that it shares, forked by a warm parent, or in one of its own."""
        engine = self._connect()
        try:
            image = ensure_image(engine, self.kind)
            self.data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            secrets = Secrets.kept_in(self.folder / SECRETS_FILE)
            if self.kind.warm_files is None:
                return await self._start_plainly(engine, image, secrets)
            try:
                server: RunningHomeserver = await self._start_warm(engine, image, secrets)
            except NotWarm as reason:
                server = await self._start_plainly(engine, image, secrets)
                server.slow_because = str(reason)
                return server
        except BaseException:
            engine.close()
            raise
        engine.close()
        return server

    async def _start_warm(self, engine: Engine, image: str, secrets: Secrets) -> RunningWarm:
        """Have a warm parent fork it. Raises NotWarm where it needs a container of its own, or there is no parent."""
        check_possible(engine)
        if why := needs_its_own(self.settings, self._run, self._dies_with_parent):
            raise NotWarm(why)
        assert self._run.head is not None
        assert self.kind.warm_files is not None
        containers = WarmContainers(engine, self.kind, image, self._run.head)
        began = time.monotonic()
        lease = await containers.lease()
        leased = time.monotonic()
        try:
            inside = f"/greenroom/{self.folder.name}-{random.token_hex(4)}"
            files = self.kind.warm_files(self.settings, secrets, self.data_folder, inside, lease.port)
            if DATABASE_FILE not in files:
                files = {**files, **await empty_database(self.kind, containers)}
            placement = WarmPlacement(lease, inside, self.data_folder, self.log_path, self._run)
            server = RunningWarm(self.kind, placement, files, self.settings, secrets)
        except BaseException:
            lease.connection.close()
            raise
        await server.launch()
        server.phases = {"warm parent": leased - began, "answering": time.monotonic() - leased}
        return server

    async def _start_plainly(self, engine: Engine, image: str, secrets: Secrets) -> RunningContainer:
        """Copy the configuration into a new container, start it and wait for its first answer."""
        self._run.uses_engine(engine.url)  # noted before there is a container to find
        recipe = self.kind.recipe(image, self.settings, secrets, self.data_folder)
        placement = Placement(
            engine, self._run, self.data_folder, self.log_path, self.settings.port, self._dies_with_parent
        )
        server = RunningContainer(self.kind, recipe, placement, self.settings, secrets)
        await server.launch()
        return server


def needs_its_own(settings: HomeserverSettings, run: Run, dies_with_parent: bool) -> str:
    """Return why a homeserver needs a container of its own; empty if it does not."""
    if not dies_with_parent:
        return "it outlives the command that starts it"
    if run.run_id.startswith("dev-"):
        return "its data outlives a killed `dev`"
    if run.head is None:
        return "no run notes it"
    if settings.appservices:
        return "it has to reach an application service on this machine"
    if settings.port:
        return "a port was asked for"
    return ""
