"""Labels on everything that Greenroom creates in an engine, and the removal of what dead runs have left there.

A container belongs to a run (the run's id holds the pid and start time of its owner) and to a machine and user: an
engine may be shared between machines, and another machine's living run looks dead from here.
"""

from __future__ import annotations

import getpass
import hashlib
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from greenroom.errors import HarnessError, Unavailable
from greenroom.homeserver.container.archive import unpack
from greenroom.homeserver.container.engine import Engine, asking, connect
from greenroom.processes import runs
from greenroom.processes.procfs import ProcessIdentity, myself

PREFIX = "dev.greenroom"
RUN = f"{PREFIX}.run"
OWNER = f"{PREFIX}.owner"  # machine and user that may remove it
FOLDER = f"{PREFIX}.folder"  # on that machine: where its data belongs when it ends
DATA = f"{PREFIX}.data"  # the folder inside the container that holds the data
CREATOR = f"{PREFIX}.creator"  # pid and start time of the process that made it
REMOVAL_TIMEOUT_S = 30
OUTLIVES = f"{PREFIX}.outlives"  # set if it outlives that process (`dev --detach`)


def owner() -> str:
    """Return a name for this machine and user that does not tell the engine's other users who it is."""
    machine = ""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        if path.exists():
            machine = path.read_text().strip()
            break
    return hashlib.sha256(f"{machine}/{platform.node()}/{getpass.getuser()}".encode()).hexdigest()[:16]


def labels_of(run_id: str, folder: Path, data: str, *, outlives: bool = False) -> dict[str, str]:
    """Return the labels of a new container."""
    me = myself()
    labels = {RUN: run_id, OWNER: owner(), FOLDER: str(folder), DATA: data, CREATOR: f"{me.pid} {me.started}"}
    return {**labels, OUTLIVES: "yes"} if outlives else labels


def containers_of(engine: Engine, run_id: str | None = None) -> list[Any]:
    """Return our containers, running or not: of one run, or of all runs of this machine and user."""
    wanted = [f"{OWNER}={owner()}"] + ([f"{RUN}={run_id}"] if run_id else [])
    # ignore_removed: docker-py asks about each one listed, and another run may have removed one since.
    listing = partial(engine.client.containers.list, all=True, filters={"label": wanted}, ignore_removed=True)
    return list(asking("listing containers", listing))


def remove(container: Any, *, rescue: bool = False) -> None:
    """Remove a container with its volumes; with `rescue`, bring its data back to its folder first.

    Another process may be removing the container at the same moment (a worker that sweeps, for instance); then wait for
    that removal.
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
    """Stop a container cleanly and copy its data to the folder that its label names, if that folder still exists."""
    folder = Path(container.labels.get(FOLDER, ""))
    if not container.labels.get(FOLDER) or not folder.is_dir():
        return
    if container.status == "paused":
        container.unpause()
    container.stop(timeout=10)
    chunks, _ = container.get_archive(container.labels[DATA])
    unpack(chunks, folder)


def copy_out(container: Any, folder: Path) -> None:
    """Copy a container's data into a folder, which is made. A running container is frozen meanwhile."""
    container.reload()
    runs_on = container.status == "running"
    if runs_on:
        container.pause()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        chunks, _ = container.get_archive(container.labels[DATA])
        unpack(chunks, folder)
    finally:
        if runs_on:
            container.unpause()


class ContainerEngines:
    """How a run's containers are found and ended: what `runs.Engines` asks for, answered by the engines themselves."""

    def containers(self, url: str, run_id: str) -> list[str]:
        with _connected(url) as engine:
            return [container.short_id for container in containers_of(engine, run_id)]

    def running(self, url: str, run_id: str) -> list[str]:
        """Return the short ids of the run's containers that run. Raises HarnessError if the engine does not answer."""
        with _connected(url) as engine:
            return [container.short_id for container in containers_of(engine, run_id) if container.status == "running"]

    def end_containers(self, url: str, run_id: str, *, rescue: bool) -> list[str]:
        with _connected(url) as engine:
            found = containers_of(engine, run_id)
            for container in found:
                remove(container, rescue=rescue)
            return [container.short_id for container in found]


@contextmanager
def _connected(url: str) -> Iterator[Engine]:
    engine = connect(url)
    try:
        yield engine
    finally:
        engine.close()


def sweep_machine(*, dry_run: bool = False) -> list[str]:
    """Remove the orphans in this machine's engine, if it has one; return their ids. With `dry_run` remove nothing."""
    try:
        engine = connect()
    except Unavailable:
        return []
    try:
        found = orphans(engine)
        for container in () if dry_run else found:
            remove(container)
        return [container.short_id for container in found]
    finally:
        engine.close()


def orphans(engine: Engine) -> list[Any]:
    """Return our containers whose maker is dead, except those of a dev environment that still has its manifest.

    This needs no manifest of a test run: its folder may have been deleted by hand.
    """
    return [found for found in containers_of(engine) if not _has_maker(found.labels) and not _is_kept(found.labels)]


def _has_maker(labels: Mapping[str, str]) -> bool:
    pid, _, started = labels.get(CREATOR, "").partition(" ")
    return pid.isdigit() and ProcessIdentity(int(pid), started).is_alive()


def _is_kept(labels: Mapping[str, str]) -> bool:
    """Return whether a manifest beside the data still names the run. `dev` and `down` end it, and rescue its data."""
    run = runs.load(Path(labels.get(FOLDER, "")).parent)
    return run is not None and run.run_id == labels.get(RUN) and run.run_id.startswith("dev-")
