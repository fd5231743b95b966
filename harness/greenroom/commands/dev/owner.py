"""The owner of a checkout's dev environment: at most one `dev`, found after a crash by pid and start time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from greenroom.commands.dev.folder import DevFolder
from greenroom.errors import AlreadyRunning, HarnessError
from greenroom.homeserver.container.labels import ContainerEngines, owner
from greenroom.processes import runs
from greenroom.processes.procfs import ProcessIdentity, identify, myself, pids_with_environment, terminate
from greenroom.spelling import command

LOCK = "lock"


@contextmanager
def owning(folder: DevFolder) -> Iterator[None]:
    """Own the checkout's dev environment. Raises AlreadyRunning if another `dev` does.

    The kernel releases the lock when its owner ends, however that happens. Children do not inherit it.
    """
    with (folder.root / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_owner(folder)
            who = f" (pid {holder.pid})" if holder else ""
            raise AlreadyRunning(runs_already(folder, who)) from None
        me = myself()
        lock.truncate(0)
        lock.write(json.dumps({"pid": me.pid, "started": me.started}))
        lock.flush()
        yield
        lock.truncate(0)


def runs_already(folder: DevFolder, how: str) -> str:
    """Return the line that a second `dev` prints."""
    return (
        f"a dev environment runs in {folder.project} already{how}; "
        f"its URL and passwords: {command('status')}; stop it: {command('down')}"
    )


def read_owner(folder: DevFolder) -> ProcessIdentity | None:
    """Return the running `dev` that owns the checkout, or None."""
    try:
        data = json.loads((folder.root / LOCK).read_text())
        holder = ProcessIdentity(int(data["pid"]), str(data["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return holder if holder.is_alive() else None


def run_id(folder: DevFolder) -> str:
    """Return the id of this checkout's run: the same at every start, so that it is known without its manifest."""
    return "dev-" + hashlib.sha256(f"{owner()}/{folder.root.resolve()}".encode()).hexdigest()[:16]


def new_run(folder: DevFolder) -> runs.RecordedRun:
    """Begin the manifest of this checkout's dev processes."""
    run = runs.RecordedRun(run_id(folder), folder.root)
    run.save()
    return run


def recorded_run(folder: DevFolder) -> runs.RecordedRun | None:
    """Read the manifest that the last `dev` here left; None if there is nothing to find.

    If it is damaged or gone, processes are found by their mark, and containers in the default engine by their label.
    """
    if run := runs.load(folder.root):
        return run
    run = runs.RecordedRun(run_id(folder), folder.root)
    names: dict[int, str] = {}
    with suppress(HarnessError):
        state = folder.state()
        names = {state[part]["pid"]: part for part in ("homeserver", "bot") if "pid" in state[part]}
    for pid in pids_with_environment(f"{runs.MARKER}={run.run_id}"):
        with suppress(ProcessLookupError):
            run.processes[f"{names.get(pid, 'process')}:{pid}"] = identify(pid)
    if (folder.root / runs.MANIFEST).exists() or folder.state_file.exists():
        run.engines = {""}
    return run if run.processes or run.engines else None


def tidy(folder: DevFolder) -> list[int]:
    """End what an earlier `dev` here left running and remove its manifest; return the pids ended. All data stays."""
    run = recorded_run(folder)
    ended = run.end(ContainerEngines()) if run else []
    folder.state_file.unlink(missing_ok=True)
    if run and run.engines:
        run.save()  # an engine did not answer: its container stays noted
    else:
        (folder.root / runs.MANIFEST).unlink(missing_ok=True)
    return ended


def stop_owner(folder: DevFolder) -> ProcessIdentity | None:
    """Stop the owning `dev` and wait until it has ended; return it, or None if there was none."""
    holder = read_owner(folder)
    if holder is not None and holder.pid != os.getpid():
        terminate(holder, grace_s=20.0)
        return holder
    return None


def remove_drafts(folder: Path) -> None:
    """Remove half-written drafts of a killed `dev`."""
    for draft in folder.glob(".*.[0-9]*"):
        draft.unlink(missing_ok=True)
