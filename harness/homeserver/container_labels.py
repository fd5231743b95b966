"""Labels on everything we create in an engine, and the removal of what dead runs have left there.

A container belongs to a run (its id holds its owner's pid and start time) and to a machine and user: an engine may be
shared between machines, and somebody else's living run looks dead from here.
"""

from __future__ import annotations

import getpass
import hashlib
import platform
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.homeserver.container_archive import unpack
from harness.homeserver.container_engine import Engine, asking
from harness.procfs import myself

PREFIX = "dev.greenroom"
RUN = f"{PREFIX}.run"
OWNER = f"{PREFIX}.owner"  # machine and user that may remove it
FOLDER = f"{PREFIX}.folder"  # on that machine: where its data belongs when it ends
DATA = f"{PREFIX}.data"  # the folder inside the container that holds the data
CREATOR = f"{PREFIX}.creator"  # pid and start time of the process that made it
REMOVAL_TIMEOUT_S = 30
OUTLIVES = f"{PREFIX}.outlives"  # there if it is to go on when that process ends (`dev --detach`)


def owner() -> str:
    """Identify this machine and user, without telling an engine's other users who that is."""
    machine = ""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        if path.exists():
            machine = path.read_text().strip()
            break
    return hashlib.sha256(f"{machine}/{platform.node()}/{getpass.getuser()}".encode()).hexdigest()[:16]


def labels_of(run_id: str, folder: Path, data: str, *, outlives: bool = False) -> dict[str, str]:
    """Give the labels of a new container."""
    me = myself()
    labels = {RUN: run_id, OWNER: owner(), FOLDER: str(folder), DATA: data, CREATOR: f"{me.pid} {me.started}"}
    return {**labels, OUTLIVES: "yes"} if outlives else labels


def containers_of(engine: Engine, run_id: str | None = None) -> list[Any]:
    """List our containers, running or not: of one run, or of all runs of this machine and user."""
    wanted = [f"{OWNER}={owner()}"] + ([f"{RUN}={run_id}"] if run_id else [])
    # ignore_removed: it asks about each one listed, and another run may have removed one since.
    listing = partial(engine.client.containers.list, all=True, filters={"label": wanted}, ignore_removed=True)
    return list(asking("listing containers", listing))


def remove(container: Any, *, rescue: bool = False) -> None:
    """Remove a container with its volumes; with `rescue`, bring its data back to its folder first.

    Somebody else may be removing it at the same moment, another worker that sweeps for instance: then wait for that.
    """
    import docker.errors

    try:
        if rescue:
            asking(f"bringing data back from container {container.short_id}", lambda: bring_back(container))
        asking(f"removing container {container.short_id}", lambda: _remove(container))
    except HarnessError as error:
        if not isinstance(error.__cause__, docker.errors.NotFound):
            raise


def _remove(container: Any) -> None:
    import docker.errors

    try:
        container.remove(force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code != 409 or "already in progress" not in str(error):
            raise
        container.wait(condition="removed", timeout=REMOVAL_TIMEOUT_S)


def bring_back(container: Any) -> None:
    """Stop a container cleanly and copy its data to the folder that its label names, if that is still there."""
    folder = Path(container.labels.get(FOLDER, ""))
    if not container.labels.get(FOLDER) or not folder.is_dir():
        return
    if container.status == "paused":
        container.unpause()
    container.stop(timeout=10)
    chunks, _ = container.get_archive(container.labels[DATA])
    unpack(chunks, folder)
