"""Run manifests: what one run has started and made, written down so that a later run can tidy up after a crash.

Every run owns one folder under `runs_root()`; the folder's name holds the owner's pid and start time, so an owner that
is gone is known without reading anything. Processes are found again in two ways: by pid *and* start time from the
manifest, and by the variable `GREENROOM_RUN` in their environment, which grandchildren inherit. Anything else on the
machine is never touched.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from greenroom.errors import HarnessError
from greenroom.processes.procfs import ProcessIdentity, identify, myself, pids_with_environment, terminate

MARKER = "GREENROOM_RUN"
MANIFEST = "run.json"
KEEP = "keep"


def runs_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Give the folder of all runs of this user, made private; refuse one that somebody else prepared."""
    root = Path(environ.get("GREENROOM_RUNS_DIR") or Path(tempfile.gettempdir()) / f"greenroom-{os.getuid()}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = root.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise HarnessError(f"{root} is not a folder of yours; set GREENROOM_RUNS_DIR to one that is")
    return root


@dataclass
class Run:
    """One run: an id, a folder, and the processes started for it so far."""

    run_id: str
    folder: Path
    processes: dict[str, ProcessIdentity] = field(default_factory=dict)
    engines: set[str] = field(default_factory=set)  # container engines it uses, as DOCKER_HOST names them ("": default)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of this run carries in its environment."""
        return {MARKER: self.run_id}

    def new_folder(self, name: str) -> Path:
        """Make a fresh folder inside the run's own."""
        folder = self.folder / f"{name}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        return folder

    def started(self, name: str, identity: ProcessIdentity) -> None:
        """Note a process. Called right after each start."""
        self.processes[f"{name}:{identity.pid}"] = identity
        self.processes = {key: known for key, known in self.processes.items() if known.is_alive()}
        self.save()

    def uses_engine(self, url: str) -> None:
        """Note a container engine. Called before the first container is made there."""
        self.engines.add(url)
        self.save()

    def save(self) -> None:
        """Write the manifest in one step, so that a crash leaves the old one or the new one."""
        text = json.dumps(
            {
                "version": 1,
                "run_id": self.run_id,
                "engines": sorted(self.engines),
                "processes": [
                    {"name": key.rpartition(":")[0], "pid": known.pid, "started": known.started}
                    for key, known in self.processes.items()
                ],
            },
            indent=1,
        )
        draft = self.folder / f".{MANIFEST}.{os.getpid()}"
        draft.write_text(text)
        draft.replace(self.folder / MANIFEST)

    def keep(self) -> None:
        """Ask later sweeps to leave the folder for a look; only `down --all` removes it then."""
        (self.folder / KEEP).touch()

    def end_processes(self, *, rescue: bool = True) -> list[int]:
        """End every process of this run that still lives, give their pids; and its containers.

        With `rescue` a container's data is brought back to its folder first.
        """
        found = {identity.pid: identity for identity in self.processes.values()}
        for pid in pids_with_environment(f"{MARKER}={self.run_id}"):
            try:
                found.setdefault(pid, identify(pid))
            except ProcessLookupError:
                continue
        ended = [pid for pid, identity in found.items() if terminate(identity, grace_s=5.0)]
        self.end_containers(rescue=rescue)
        return ended

    def end_containers(self, *, rescue: bool = False) -> list[str]:
        """Remove every container of this run; give their ids. An engine that does not answer stays in the manifest."""
        if not self.engines:
            return []
        from greenroom.homeserver.container.labels import end_containers

        ended: list[str] = []
        for url in sorted(self.engines):
            try:
                ended += end_containers(url, self.run_id, rescue=rescue)
            except HarnessError:
                continue
            self.engines.discard(url)
        return ended

    def containers(self) -> list[str]:
        """Name the containers of this run that its engines still have."""
        if not self.engines:
            return []
        from greenroom.homeserver.container.labels import list_containers

        found: list[str] = []
        for url in sorted(self.engines):
            with suppress(HarnessError):
                found += list_containers(url, self.run_id)
        return found

    def living(self) -> list[ProcessIdentity]:
        """List the noted processes that are still there."""
        return [identity for identity in self.processes.values() if identity.is_alive()]

    def close(self, *, keep: bool = False) -> None:
        """End the run: processes first, then its folder (unless it is to be kept)."""
        self.end_processes(rescue=keep)
        if keep:
            self.keep()
        elif self.engines:
            self.save()  # its engine is away; a later sweep looks again
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def load(folder: Path) -> Run | None:
    """Read the manifest in a folder; None if there is none (or none that can be understood)."""
    try:
        data = json.loads((folder / MANIFEST).read_text())
        noted = [(p["name"], ProcessIdentity(int(p["pid"]), str(p["started"]))) for p in data["processes"]]
        processes = {f"{name}:{identity.pid}": identity for name, identity in noted}
        return Run(str(data["run_id"]), folder, processes, set(data.get("engines", [])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def begin(root: Path | None = None) -> Run:
    """Begin a run of this process, with a folder of its own."""
    me = myself()
    run_id = f"run-{me.pid}-{me.started.replace('/', '.')}-{secrets.token_hex(4)}"
    folder = (root or runs_root()) / run_id
    folder.mkdir(mode=0o700)
    run = Run(run_id, folder)
    run.save()
    return run


@dataclass(frozen=True)
class Leftover:
    """A run whose owner is gone."""

    run: Run
    kept: bool


def leftovers(root: Path | None = None) -> list[Leftover]:
    """Find runs whose owner is gone. Folders that do not look like ours are not listed."""
    found = []
    for folder in sorted((root or runs_root()).glob("run-*-*-*")):
        owner = _owner(folder.name)
        if owner is None or owner.is_alive() or folder.is_symlink() or not folder.is_dir():
            continue
        run = load(folder) or Run(folder.name, folder)
        found.append(Leftover(run, kept=(folder / KEEP).exists()))
    return found


def sweep(root: Path | None = None, *, kept_too: bool = False) -> list[str]:
    """Tidy up after dead runs: end their processes, remove their folders. Give the ids of the runs swept."""
    swept = []
    for leftover in leftovers(root):
        leftover.run.end_processes(rescue=leftover.kept)
        if leftover.run.engines or (leftover.kept and not kept_too):
            continue
        shutil.rmtree(leftover.run.folder, ignore_errors=True)
        swept.append(leftover.run.run_id)
    return swept


def _owner(name: str) -> ProcessIdentity | None:
    _, pid, started, *_ = name.split("-", 3)
    return ProcessIdentity(int(pid), started.replace(".", "/", 1)) if pid.isdigit() else None
