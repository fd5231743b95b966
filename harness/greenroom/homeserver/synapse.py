"""Synapse: in a container of the official image or our own, or from PyPI as a process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenroom.homeserver.interface import Capability
from greenroom.homeserver.kind import HomeserverKind, Recipe
from greenroom.homeserver.settings import LOOPBACK, HomeserverSettings, Secrets, free_port, read_files
from greenroom.homeserver.synapse_config import (
    CONFIG_FILE,
    CONFIGURATION,
    DATABASE_FILE,
    LOG_CONFIG_FILE,
    MEDIA_FOLDER,
    MISSING,
    ROOM_VERSIONS,
    SIGNING_KEY_FILE,
    VERSION,
    appservice_files,
    as_yaml,
    lacks,
    log_config,
    synapse_config,
)
from greenroom.homeserver.synapse_process import SynapseProcess, hint

INSIDE = "/greenroom"  # not the official image's /data: that may be a volume, which `docker commit` leaves out
PORT = 8008
UID = 991  # what the official image's own start script drops to
# Overrides the official image's start script, which would write a configuration of its own.
ENTRYPOINT = ["python", "-m", "synapse.app.homeserver"]
COMMAND = ["--config-path", f"{INSIDE}/{CONFIG_FILE}"]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a network of its own


def synapse_recipe(image: str, settings: HomeserverSettings, secrets: Secrets, data: Path) -> Recipe:
    """Return how to run Synapse; data that an earlier container left in `data` goes in again.

    An application service listens on loopback, where only a container on the network of the host can reach it.
    """
    shares = bool(settings.appservices)
    port = (settings.port or free_port()) if shares else PORT
    bind = LOOPBACK if shares else EVERYWHERE
    return Recipe(
        image=image,
        entrypoint=ENTRYPOINT,
        command=COMMAND,
        port=port,
        folder=INSIDE,
        uid=UID,
        gid=UID,
        files={**_kept(data), **config_files(settings, secrets, port, bind)},
        env={"PYTHONUNBUFFERED": "1"},
        host_network=shares,
    )


def config_files(
    settings: HomeserverSettings, secrets: Secrets, port: int = PORT, bind: str = EVERYWHERE, folder: str = INSIDE
) -> dict[str, bytes]:
    """Render everything that Synapse reads at its start, as seen inside the container."""
    config = synapse_config(settings, secrets, folder=folder, port=port, bind=bind)
    return {
        CONFIG_FILE: as_yaml(config).encode(),
        LOG_CONFIG_FILE: as_yaml(log_config(settings.log_level)).encode(),
        SIGNING_KEY_FILE: (secrets.signing_key + "\n").encode(),
        **{name: text.encode() for name, text in appservice_files(settings).items()},
    }


def warm_files(settings: HomeserverSettings, secrets: Secrets, data: Path, folder: str, port: int) -> dict[str, bytes]:
    """Return the files of one Synapse among several in a container; data that an earlier one left in `data` too."""
    return {**_kept(data), **config_files(settings, secrets, port, folder=folder)}


def _kept(data: Path) -> dict[str, bytes]:
    database = [data / (DATABASE_FILE + suffix) for suffix in ("", "-wal")]
    return read_files(data, [*database, *sorted((data / MEDIA_FOLDER).rglob("*"))])


def _hint(log_tail: Sequence[str]) -> str:
    text = "\n".join(log_tail)
    if "No module named 'synapse'" in text or "No module named synapse" in text:
        return f"this is no Synapse image; see {SYNAPSE.image_variable}"
    return hint(text)


SYNAPSE = HomeserverKind(
    name="synapse",
    image=f"matrixdotorg/synapse:v{VERSION}",
    own_image=f"greenroom-synapse:{VERSION}",
    missing=MISSING,
    registration=Capability.SHARED_SECRET_REGISTRATION,
    recipe=synapse_recipe,
    warm_files=warm_files,
    process=SynapseProcess,
    hint=_hint,
    room_versions=ROOM_VERSIONS,
    configuration=CONFIGURATION,
    lacks=lacks,
)
