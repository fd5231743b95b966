"""Conduit in a container: the official image, configured by its environment alone."""

from __future__ import annotations

from pathlib import Path

from harness.homeserver.conduit import DATA, PORT, conduit_env
from harness.homeserver.container import Placement, Recipe, RunningContainer
from harness.homeserver.container_start import ContainerHomeserver, read_files
from harness.homeserver.interface import Capability, Kind
from harness.homeserver.settings import HomeserverSettings, Secrets

UID = 1000  # any number but root's: the data folder is made for it
BINARY = "/usr/local/bin/matrix-conduit"
# No admin API, no shared secret, no rate limits.
CAPABILITIES = frozenset(
    {
        Capability.REGISTRATION_TOKEN,
        Capability.STOP,
        Capability.KILL,
        Capability.PAUSE,
        Capability.ROOM_UPGRADE,
    }
)


def conduit_recipe(image: str, settings: HomeserverSettings, secrets: Secrets, data: Path | None = None) -> Recipe:
    """Say how to run Conduit; data that an earlier container left in `data` goes in again."""
    return Recipe(
        kind=Kind.CONDUIT,
        image=image,
        entrypoint=[BINARY],
        command=[],
        port=PORT,
        folder=DATA,
        uid=UID,
        gid=UID,
        files=read_files(data, sorted(data.rglob("*"))) if data else {},
        env=conduit_env(settings, secrets.registration_shared_secret),
    )


class ConduitContainer(ContainerHomeserver):
    """A Conduit that is to run in a container. Accounts come by registration token."""

    kind = Kind.CONDUIT
    capabilities = CAPABILITIES

    @property
    def data_folder(self) -> Path:
        return self.folder / "data"  # RocksDB makes many files: they have a folder to themselves

    def recipe(self, image: str, secrets: Secrets) -> Recipe:
        return conduit_recipe(image, self.settings, secrets, self.data_folder)

    def server_of(self, recipe: Recipe, placement: Placement, secrets: Secrets) -> RunningContainer:
        return RunningContainer(
            recipe,
            placement,
            server_name=self.settings.server_name,
            capabilities=self.capabilities,
            registration_token=secrets.registration_shared_secret,
        )
