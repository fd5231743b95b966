"""Synapse in a container: the official image or ours, started by the same command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenroom.homeserver.container.running import Placement, Recipe, RunningContainer
from greenroom.homeserver.container.start import ContainerHomeserver, read_files
from greenroom.homeserver.interface import Kind
from greenroom.homeserver.settings import HomeserverSettings, Secrets
from greenroom.homeserver.synapse_config import (
    CONFIG_FILE,
    DATABASE_FILE,
    LOG_CONFIG_FILE,
    SIGNING_KEY_FILE,
    as_yaml,
    log_config,
    synapse_config,
)
from greenroom.homeserver.synapse_process import CAPABILITIES

INSIDE = "/greenroom"  # not the official image's /data: that may be a volume, which `docker commit` leaves out
PORT = 8008
UID = 991  # what the official image's own start script drops to
# Overrides the official image's start script, which would write a configuration of its own.
ENTRYPOINT = ["python", "-m", "synapse.app.homeserver"]
COMMAND = ["--config-path", f"{INSIDE}/{CONFIG_FILE}"]


def synapse_recipe(image: str, settings: HomeserverSettings, secrets: Secrets, data: Path | None = None) -> Recipe:
    """Say how to run Synapse; data that an earlier container left in `data` goes in again."""
    return Recipe(
        kind=Kind.SYNAPSE,
        image=image,
        entrypoint=ENTRYPOINT,
        command=COMMAND,
        port=PORT,
        folder=INSIDE,
        uid=UID,
        gid=UID,
        files={**(_kept(data) if data else {}), **config_files(settings, secrets)},
        env={"PYTHONUNBUFFERED": "1"},
    )


def config_files(settings: HomeserverSettings, secrets: Secrets) -> dict[str, bytes]:
    """Render everything that Synapse reads at its start, as seen inside the container."""
    config = synapse_config(settings, secrets, folder=INSIDE, port=PORT, bind="0.0.0.0")  # noqa: S104 - its own network
    return {
        CONFIG_FILE: as_yaml(config).encode(),
        LOG_CONFIG_FILE: as_yaml(log_config(settings.log_level)).encode(),
        SIGNING_KEY_FILE: (secrets.signing_key + "\n").encode(),
    }


def _kept(data: Path) -> dict[str, bytes]:
    database = [data / (DATABASE_FILE + suffix) for suffix in ("", "-wal")]
    return read_files(data, [*database, *sorted((data / "media").rglob("*"))])


class SynapseContainer(ContainerHomeserver):
    """A Synapse that is to run in a container."""

    kind = Kind.SYNAPSE
    capabilities = CAPABILITIES

    def recipe(self, image: str, secrets: Secrets) -> Recipe:
        return synapse_recipe(image, self.settings, secrets, self.data_folder)

    def server_of(self, recipe: Recipe, placement: Placement, secrets: Secrets) -> RunningContainer:
        return RunningContainer(
            recipe,
            placement,
            server_name=self.settings.server_name,
            capabilities=self.capabilities,
            registration_shared_secret=secrets.registration_shared_secret,
            hint=_hint,
        )


def _hint(tail: Sequence[str]) -> str:
    text = "\n".join(tail)
    if "Error in configuration" in text:
        return "look at the settings passed as `extra`; Synapse names the one it refuses above"
    if "No module named 'synapse'" in text or "No module named synapse" in text:
        return "this is no Synapse image; see GREENROOM_SYNAPSE_IMAGE"
    return ""
