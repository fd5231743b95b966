"""The owner of a dev environment: at most one `dev`, found after a crash by pid and start time; and `down`."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.errors import AlreadyRunning, HarnessError
from greenroom.homeserver.container.labels import ContainerEngines, owner, sweep_machine
from greenroom.processes import runs
from greenroom.processes.procfs import ProcessIdentity, identify, myself, pids_with_environment, terminate
from greenroom.spelling import command

LOCK = "lock"


@contextmanager
def owning(folder: DevFolder, *, answers: bool = False) -> Iterator[None]:
    """Own the checkout's dev environment. Raises AlreadyRunning if another `dev` does, or a `start` or `stop` now.

    An owner that `answers` carries out what other commands ask of it. The kernel releases the lock when its owner
    ends, however that happens. Children do not inherit it.
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
        lock.write(json.dumps({"pid": me.pid, "started": me.started, "answers": answers}))
        lock.flush()
        yield
        lock.truncate(0)


def runs_already(folder: DevFolder, how: str) -> str:
    """Return the line that a second `dev` prints."""
    return (
        f"a dev environment runs in {folder.project} already{how}; "
        f"its URL and passwords: {command('status')}; stop it: {command('down')}"
    )


def read_owner(folder: DevFolder, *, answering: bool = False) -> ProcessIdentity | None:
    """Return the running process that owns the checkout, or None; with `answering` only one that answers requests."""
    try:
        data = json.loads((folder.root / LOCK).read_text())
        holder = ProcessIdentity(int(data["pid"]), str(data["started"]))
        if answering and not data["answers"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return holder if holder.is_alive() else None


def noted_state(folder: DevFolder) -> dict[str, Any]:
    """Return what `dev.json` says. Raises HarnessError; without the file it says what runs all the same."""
    if not folder.state_file.exists():
        if owner := read_owner(folder):
            raise HarnessError(
                f"a dev environment starts in {folder.project} (pid {owner.pid}); wait until it is ready"
            )
        if (run := recorded_run(folder)) and (living := run.living()):
            pids = ", ".join(str(known.pid) for known in living)
            raise HarnessError(
                f"{folder.state_file} is gone, but its dev environment runs (pid {pids}); "
                f"try: {command('down')}, then {command('dev')}"
            )
    return folder.state()


def run_id(folder: DevFolder) -> str:
    """Return the id of this checkout's run: the same at every start, so that it is known without its manifest."""
    return "dev-" + hashlib.sha256(f"{owner()}/{folder.root.resolve()}".encode()).hexdigest()[:16]


def new_run(folder: DevFolder) -> runs.RecordedRun:
    """Begin the manifest of this checkout's dev processes."""
    run = runs.RecordedRun(run_id(folder), folder.root, head=runs.find_head())
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


def down(folder: DevFolder, *, everything: bool = False, dry_run: bool = False, console: Console | None = None) -> int:
    """Stop everything; with `dry_run` only list what would be stopped. The data in `.greenroom/` stays."""
    console = console or Console()
    found = _this_checkout(folder, dry_run)
    if everything:
        found += _leftovers(dry_run)
    for line in found:
        console.say(f"would have {line}" if dry_run else line)
    if not found:
        console.say("nothing is running")
    elif folder.root.exists() and not dry_run:
        console.say(f"data kept in {folder.root} (start over: {command('dev --fresh')})")
    return 0


def _this_checkout(folder: DevFolder, dry_run: bool) -> list[str]:
    holder, run = read_owner(folder), recorded_run(folder)
    living = {key: known for key, known in (run.processes if run else {}).items() if known.is_alive()}
    held = run.containers(ContainerEngines()) if run else []
    if not dry_run:
        stop_owner(folder)
        strays = set(tidy(folder)) - {known.pid for known in living.values()}
    else:
        strays = set()
    lines = [f"stopped dev (pid {holder.pid})"] if holder else []
    lines += [f"stopped {key.partition(':')[0]} (pid {known.pid})" for key, known in living.items()]
    lines += [f"stopped container {short_id}" for short_id in held]
    return lines + [f"stopped a process of the bot or homeserver (pid {pid})" for pid in sorted(strays)]


def _leftovers(dry_run: bool) -> list[str]:
    root = runs.runs_root()
    names = [leftover.run.run_id for leftover in runs.leftovers(root)]
    if not dry_run:
        runs.sweep(ContainerEngines(), root, kept_too=True)
    containers = sweep_machine(dry_run=dry_run)
    return [f"removed leftover run {name}" for name in names] + [f"removed container {each}" for each in containers]
