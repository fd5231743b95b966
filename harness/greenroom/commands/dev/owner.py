"""The owner of a checkout's dev environment: at most one `dev`, found after a crash by pid and start time."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenroom.commands.dev.folder import DevFolder
from greenroom.errors import AlreadyRunning
from greenroom.homeserver.container.labels import ContainerEngines
from greenroom.processes import runs
from greenroom.processes.procfs import ProcessIdentity, myself, terminate
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
            owner = read_owner(folder)
            who = f" (pid {owner.pid})" if owner else ""
            raise AlreadyRunning(
                f"a dev environment runs in {folder.project} already{who}; stop it: {command('down')}"
            ) from None
        me = myself()
        lock.truncate(0)
        lock.write(json.dumps({"pid": me.pid, "started": me.started}))
        lock.flush()
        yield
        lock.truncate(0)


def read_owner(folder: DevFolder) -> ProcessIdentity | None:
    """Return the running `dev` that owns the checkout, or None."""
    try:
        data = json.loads((folder.root / LOCK).read_text())
        owner = ProcessIdentity(int(data["pid"]), str(data["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return owner if owner.is_alive() else None


def new_run(folder: DevFolder) -> runs.RecordedRun:
    """Begin the manifest of this checkout's dev processes."""
    run = runs.RecordedRun(f"dev-{os.getpid()}-{secrets.token_hex(4)}", folder.root)
    run.save()
    return run


def recorded_run(folder: DevFolder) -> runs.RecordedRun | None:
    """Read the manifest that the last `dev` here left."""
    return runs.load(folder.root)


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
    owner = read_owner(folder)
    if owner is not None and owner.pid != os.getpid():
        terminate(owner, grace_s=20.0)
        return owner
    return None


def remove_drafts(folder: Path) -> None:
    """Remove half-written drafts of a killed `dev`."""
    for draft in folder.glob(".*.[0-9]*"):
        draft.unlink(missing_ok=True)
