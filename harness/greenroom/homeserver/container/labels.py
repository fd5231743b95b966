"""Labels on everything we create in an engine, and the removal of what dead runs have left there.

A container belongs to a run (its id holds its owner's pid and start time) and to a machine and user: an engine may be
shared between machines, and somebody else's living run looks dead from here.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import platform
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from greenroom.errors import HarnessError, Unavailable
from greenroom.homeserver.container.archive import unpack
from greenroom.homeserver.container.engine import Engine, asking, connect
from greenroom.processes.procfs import ProcessIdentity, myself


def end_containers(engine_url: str, run_id: str, *, rescue: bool) -> list[str]:
    """Remove the containers of one run from an engine; give their short ids."""
    engine = connect(engine_url)
    try:
        found = containers_of(engine, run_id)
        for container in found:
            remove(container, rescue=rescue)
        return [container.short_id for container in found]
    finally:
        engine.close()


def orphans(engine: Engine) -> list[Any]:
    """List our containers whose maker is dead and which nobody keeps: not one that `dev --detach` left running."""
    return [found for found in containers_of(engine) if not _has_maker(found.labels) and not _is_kept(found.labels)]


def sweep_orphans(engine: Engine) -> list[str]:
    """Remove them; give their short ids. Needs no manifest: a runs folder may have been deleted by hand."""
    found = orphans(engine)
    for container in found:
        remove(container)
    return [container.short_id for container in found]


def _has_maker(labels: Mapping[str, str]) -> bool:
    pid, _, started = labels.get(CREATOR, "").partition(" ")
    return pid.isdigit() and ProcessIdentity(int(pid), started).is_alive()


def _is_kept(labels: Mapping[str, str]) -> bool:
    """Say whether a manifest beside its data still names its run: a dev environment, running or killed.

    That one is `down`'s and `dev`'s to end, because its data is to be brought back first.
    """
    manifest = Path(labels.get(FOLDER, "")).parent / "run.json"
    try:
        return bool(json.loads(manifest.read_text())["run_id"] == labels[RUN] and labels[RUN].startswith("dev-"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sweep_machine(*, dry_run: bool = False) -> list[str]:
    """Remove the orphans in the engine that is here, if one is; give their ids. With `dry_run` only name them."""
    try:
        engine = connect()
    except Unavailable:
        return []
    try:
        return [found.short_id for found in orphans(engine)] if dry_run else sweep_orphans(engine)
    finally:
        engine.close()


def list_containers(engine_url: str, run_id: str) -> list[str]:
    """Name the containers of one run."""
    engine = connect(engine_url)
    try:
        return [container.short_id for container in containers_of(engine, run_id)]
    finally:
        engine.close()


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
