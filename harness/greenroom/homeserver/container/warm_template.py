"""The empty database that a warm start in a container begins with. The cache has it, or such a container makes it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from greenroom.homeserver.container.archive import pack, unpack
from greenroom.homeserver.container.running import in_thread
from greenroom.homeserver.container.warm import WarmContainers
from greenroom.homeserver.kind import HomeserverKind
from greenroom.homeserver.settings import HomeserverSettings, Secrets
from greenroom.homeserver.synapse_config import CONFIG_FILE, DATABASE_FILE
from greenroom.homeserver.warm.remote import RemoteProcess
from greenroom.homeserver.warm.template import PROGRAM, ended_well, prepared_database
from greenroom.processes.process import Command

INSIDE = Path("/greenroom/template")


async def empty_database(kind: HomeserverKind, containers: WarmContainers) -> dict[str, bytes]:
    """Return the file of an empty database, by its name; nothing where it can be neither kept nor made."""
    template = await prepared_database(partial(_make, kind, containers))
    return {DATABASE_FILE: template.read_bytes()} if template else {}


async def _make(kind: HomeserverKind, containers: WarmContainers, draft: Path) -> bool:
    assert kind.warm_files is not None, "only then is there a warm container"
    files = kind.warm_files(HomeserverSettings(), Secrets.fresh(), draft, str(INSIDE), 0)
    connection = await in_thread(containers.connect)
    try:
        argv = ["python", "-m", *PROGRAM, "--database-config", str(INSIDE / CONFIG_FILE)]
        process = RemoteProcess(Command("template", argv, INSIDE, {}, draft / "log"))
        await in_thread(lambda: process.spawn(partial(connection.fork, files=_packed(files))))
        if not await ended_well(process):
            return False
        await in_thread(lambda: unpack(connection.fetch(str(INSIDE)), draft))
        return True
    finally:
        connection.close()


def _packed(files: Mapping[str, bytes]) -> bytes:
    return pack("", files, uid=0, gid=0)
