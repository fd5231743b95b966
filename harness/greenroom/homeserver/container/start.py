"""What all homeservers in containers do before they run: engine, image, secrets, the data of last time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from greenroom.homeserver.container.engine import Engine, connect
from greenroom.homeserver.container.image import ensure_image
from greenroom.homeserver.container.running import Placement, Recipe, RunningContainer
from greenroom.homeserver.interface import Backend, Homeserver
from greenroom.homeserver.settings import HomeserverSettings, Secrets
from greenroom.processes.process import OnSpawn
from greenroom.processes.runs import MARKER


class ContainerHomeserver(Homeserver):
    """A homeserver that is to run in a container, with its secrets and, between its runs, its data below `folder`."""

    backend = Backend.CONTAINER

    def __init__(
        self,
        folder: Path,
        settings: HomeserverSettings | None = None,
        *,
        log_path: Path | None = None,
        marker: Mapping[str, str] | None = None,
        on_spawn: OnSpawn | None = None,
        on_engine: Callable[[str], None] | None = None,
        dies_with_parent: bool = True,
        connect: Callable[[], Engine] = connect,
    ) -> None:
        self.folder = folder
        self.settings = settings or HomeserverSettings()
        self.log_path = log_path or folder / "homeserver.log"
        self._run_id = (marker or {}).get(MARKER, "none")
        self._on_spawn = on_spawn
        self._on_engine = on_engine
        self._dies_with_parent = dies_with_parent
        self._connect = connect

    @property
    def data_folder(self) -> Path:
        """Where the container's data is kept on this machine when there is no container."""
        return self.folder

    @abstractmethod
    def recipe(self, image: str, secrets: Secrets) -> Recipe:
        """Say how to run it."""

    @abstractmethod
    def server_of(self, recipe: Recipe, placement: Placement, secrets: Secrets) -> RunningContainer:
        """Make the running side, not launched yet."""

    async def start(self) -> RunningContainer:
        """Copy the configuration into a new container, start it and wait for its first answer."""
        engine = self._connect()
        try:
            image = ensure_image(engine, self.kind)
            if self._on_engine:
                self._on_engine(engine.url)  # noted before there is anything to find
            self.data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            secrets = Secrets.kept_in(self.folder / "secrets.json")
            placement = Placement(
                engine,
                self._run_id,
                self.data_folder,
                self.log_path,
                self.settings.port,
                self._dies_with_parent,
                self._on_spawn,
            )
            server = self.server_of(self.recipe(image, secrets), placement, secrets)
        except BaseException:
            engine.close()
            raise
        await server.launch()
        return server


def read_files(folder: Path, paths: list[Path]) -> dict[str, bytes]:
    """Read files below `folder`, by their names there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}
