"""Run manifests: a run writes down what it has started, so that a later run can tidy up after a crash.

Every test run owns one folder under `runs_root()`. The folder's name holds the owner's pid and start time, so a dead
owner is recognised without reading anything. Processes are found again in two ways: by the pid *and* start time in
the manifest, and by the variable `GREENROOM_RUN` in their environment, which grandchildren inherit. Nothing else on
the machine is ever touched. This room does not know a container engine: a caller hands in an `Engines`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from greenroom.errors import HarnessError
from greenroom.processes.procfs import ProcessIdentity, identify, myself, pids_with_environment, terminate

MARKER = "GREENROOM_RUN"
HEAD = "GREENROOM_HEAD"  # pid and start time of the process that everything below it is for, and its runs' folder
SHARED = "warm"  # how the names of folders go on that the runs of one head share
MANIFEST = "run.json"
KEEP = "keep"


class Engines(Protocol):
    """Finds and ends the containers of a run. `url` names the engine as DOCKER_HOST does ("": the default one)."""

    def containers(self, url: str, run_id: str) -> list[str]:
        """Return the short ids of the run's containers. Raises HarnessError if the engine does not answer."""

    def end_containers(self, url: str, run_id: str, *, rescue: bool) -> list[str]:
        """Remove the run's containers and return their short ids; with `rescue`, copy their data back first."""


@dataclass(frozen=True)
class Head:
    """The process that everything below it is for, and the folder of its runs."""

    process: ProcessIdentity
    root: Path

    def shared(self, which: str) -> Path:
        """Return the folder of one thing that all below this head share: a run's, swept once the head is dead.

        Raises HarnessError if somebody else prepared the folder of runs.
        """
        return _private(self.root) / run_name(self.process, f"{SHARED}{which}")

    def all_shared(self, pattern: str = "*") -> list[Path]:
        """Return the folders of `shared` that are there, of those whose `which` matches a glob pattern."""
        return list(self.root.glob(run_name(self.process, f"{SHARED}{pattern}")))


class Run:
    """What a process or container is started for. This plain one keeps no manifest, so nothing tidies up after it.

    `head` is the process that it all is for, if one is known: runs with the same head share what is costly to start.
    """

    head: Head | None = None

    def __init__(self, run_id: str = "") -> None:
        self.run_id = run_id

    @property
    def environment(self) -> dict[str, str]:
        """The mark that every process of this run has in its environment."""
        return {MARKER: self.run_id} if self.run_id else {}

    def started(self, name: str, identity: ProcessIdentity) -> None:
        """Note a process. Called right after each start."""

    def uses_engine(self, url: str) -> None:
        """Note a container engine. Called before the first container is made there."""

    def happened(self, log_path: Path, what: str) -> None:
        """Note a start, a kill or the like of what writes this log. Called when it happens."""


NO_RUN = Run()


@dataclass
class RecordedRun(Run):
    """A run with a manifest in its folder: the processes started for it and the container engines it uses.

    `happenings` has what happened to what writes a log, as (seconds since the epoch, in words). It is in no manifest.
    """

    run_id: str
    folder: Path
    processes: dict[str, ProcessIdentity] = field(default_factory=dict)
    engines: set[str] = field(default_factory=set)
    head: Head | None = None
    happenings: dict[Path, list[tuple[float, str]]] = field(default_factory=dict)

    def new_folder(self, name: str) -> Path:
        """Make a fresh folder inside the run's own."""
        folder = self.folder / f"{name}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        return folder

    def started(self, name: str, identity: ProcessIdentity) -> None:
        self.processes[f"{name}:{identity.pid}"] = identity
        self.processes = {key: known for key, known in self.processes.items() if known.is_alive()}
        self.save()

    def uses_engine(self, url: str) -> None:
        self.engines.add(url)
        self.save()

    def happened(self, log_path: Path, what: str) -> None:
        self.happenings.setdefault(log_path, []).append((time.time(), what))

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

    def living(self, name: str | None = None) -> list[ProcessIdentity]:
        """Return the noted processes that still run: all, or those of one name."""
        named = [known for key, known in self.processes.items() if name in (None, key.rpartition(":")[0])]
        return [identity for identity in named if identity.is_alive()]

    def end_named(self, name: str) -> None:
        """End the noted processes of one name, with everything in their process groups."""
        for identity in self.living(name):
            terminate(identity, group=True)

    def containers(self, engines: Engines) -> list[str]:
        """Return the short ids of this run's containers; an engine that does not answer is left out."""
        found: list[str] = []
        for url in sorted(self.engines):
            with suppress(HarnessError):
                found += engines.containers(url, self.run_id)
        return found

    def end(self, engines: Engines, *, rescue: bool = True) -> list[int]:
        """End every process of this run, then its containers; return the pids ended.

        An engine that does not answer stays in the manifest, so that a later sweep asks it again.
        """
        ended = self.end_processes()
        for url in sorted(self.engines):
            with suppress(HarnessError):
                engines.end_containers(url, self.run_id, rescue=rescue)
                self.engines.discard(url)
        return ended

    def end_processes(self) -> list[int]:
        """End every process of this run that still runs; return their pids."""
        found = {identity.pid: identity for identity in self.processes.values()}
        for pid in pids_with_environment(f"{MARKER}={self.run_id}"):
            with suppress(ProcessLookupError):
                found.setdefault(pid, identify(pid))
        return [pid for pid, identity in found.items() if terminate(identity, grace_s=5.0)]

    def close(self, engines: Engines, *, keep: bool = False) -> None:
        """End everything, then remove the folder, unless `keep` asks to leave it for a look."""
        self.end(engines, rescue=keep)
        if keep:
            self.keep()
        elif self.engines:
            self.save()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def runs_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of all runs of this user, made private. Raises HarnessError if somebody else prepared it."""
    return _private(_root(environ))


def _root(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("GREENROOM_RUNS_DIR") or Path(tempfile.gettempdir()) / f"greenroom-{os.getuid()}")


def _private(root: Path) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = root.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise HarnessError(f"{root} is not a folder of yours; set GREENROOM_RUNS_DIR to one that is")
    return root


def load(folder: Path) -> RecordedRun | None:
    """Read the manifest in a folder; None if it is missing or damaged."""
    try:
        data = json.loads((folder / MANIFEST).read_text())
        noted = [(p["name"], ProcessIdentity(int(p["pid"]), str(p["started"]))) for p in data.get("processes", [])]
        processes = {f"{name}:{identity.pid}": identity for name, identity in noted}
        return RecordedRun(str(data["run_id"]), folder, processes, set(data.get("engines", [])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def begin(root: Path | None = None) -> RecordedRun:
    """Begin a run of this process, with a folder of its own."""
    run_id = run_name(myself(), secrets.token_hex(4))
    folder = (root or runs_root()) / run_id
    folder.mkdir(mode=0o700)
    run = RecordedRun(run_id, folder, head=find_head())
    run.save()
    return run


def find_head(environ: Mapping[str, str] = os.environ) -> Head:
    """Return the head that GREENROOM_HEAD names, or else one of this process."""
    return named_head(environ) or own_head(environ)


def own_head(environ: Mapping[str, str] = os.environ) -> Head:
    """Return this process as a head."""
    return Head(myself(), _root(environ))


def named_head(environ: Mapping[str, str] = os.environ) -> Head | None:
    """Return the head that GREENROOM_HEAD names, perhaps this process, if it lives."""
    pid, _, rest = environ.get(HEAD, "").partition(" ")
    started, _, root = rest.partition(" ")
    head = Head(ProcessIdentity(int(pid), started), Path(root)) if pid.isdigit() else None
    return head if head and head.process.is_alive() else None


def be_head(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Name this process in GREENROOM_HEAD, for its children; return False if it has a head itself."""
    head = find_head(environ)
    if head.process != myself():
        return False
    environ[HEAD] = f"{head.process.pid} {head.process.started} {head.root}"
    return True


def stop_being_head(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Take this process out of GREENROOM_HEAD again; return whether anything is left that its runs have shared."""
    head = find_head(environ)
    del environ[HEAD]
    return bool(head.all_shared())


def run_name(owner: ProcessIdentity, rest: str) -> str:
    """Return the name of a run, and of its folder, that is swept once `owner` is dead."""
    return f"run-{owner.tag}-{rest}"


@dataclass(frozen=True)
class Leftover:
    """A run whose owner is dead."""

    run: RecordedRun
    kept: bool


def leftovers(root: Path | None = None) -> list[Leftover]:
    """Find runs whose owner is dead. Folders that are not named like a run are not listed."""
    found = []
    for folder in sorted((root or runs_root()).glob("run-*-*-*")):
        owner = ProcessIdentity.of_tag(folder.name.removeprefix("run-"))
        if owner is None or owner.is_alive() or folder.is_symlink() or not folder.is_dir():
            continue
        run = load(folder) or RecordedRun(folder.name, folder)
        found.append(Leftover(run, kept=(folder / KEEP).exists()))
    return found


def sweep(engines: Engines, root: Path | None = None, *, kept_too: bool = False) -> list[str]:
    """End what dead runs left running and remove their folders; return the ids of the runs removed."""
    swept = []
    for leftover in leftovers(root):
        leftover.run.end(engines, rescue=leftover.kept)
        if leftover.run.engines or (leftover.kept and not kept_too):
            continue
        shutil.rmtree(leftover.run.folder, ignore_errors=True)
        swept.append(leftover.run.run_id)
    return swept
