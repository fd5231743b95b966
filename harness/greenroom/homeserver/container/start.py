"""What every homeserver in a container needs before it runs: engine, image, secrets, the data of its last run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenroom.homeserver.container.create import Placement
from greenroom.homeserver.container.engine import Engine, connect
from greenroom.homeserver.container.image import ensure_image
from greenroom.homeserver.container.running import RunningContainer
from greenroom.homeserver.interface import Backend, Homeserver
from greenroom.homeserver.kind import HomeserverKind
from greenroom.homeserver.settings import SECRETS_FILE, Secrets


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

    async def start(self) -> RunningContainer:
        """Copy the configuration into a new container, start it and wait for its first answer."""
        engine = self._connect()
        try:
            image = ensure_image(engine, self.kind)
            self._run.uses_engine(engine.url)  # noted before there is a container to find
            self.data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            secrets = Secrets.kept_in(self.folder / SECRETS_FILE)
            recipe = self.kind.recipe(image, self.settings, secrets, self.data_folder)
            placement = Placement(
                engine, self._run, self.data_folder, self.log_path, self.settings.port, self._dies_with_parent
            )
            server = RunningContainer(self.kind, recipe, placement, self.settings, secrets)
        except BaseException:
            engine.close()
            raise
        await server.launch()
        return server
