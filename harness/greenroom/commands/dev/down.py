"""`down`: stop everything of this checkout, and with `--all` what dead runs left on this machine."""

from __future__ import annotations

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import read_owner, recorded_run, stop_owner, tidy
from greenroom.homeserver.container.labels import ContainerEngines, sweep_machine
from greenroom.processes import runs
from greenroom.spelling import command


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
    if not folder.root.exists():
        return []
    owner, run = read_owner(folder), recorded_run(folder)
    living = {key: known for key, known in (run.processes if run else {}).items() if known.is_alive()}
    held = run.containers(ContainerEngines()) if run else []
    if not dry_run:
        stop_owner(folder)
        strays = set(tidy(folder)) - {known.pid for known in living.values()}
    else:
        strays = set()
    lines = [f"stopped dev (pid {owner.pid})"] if owner else []
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
