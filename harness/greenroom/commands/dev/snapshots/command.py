"""The tasks `snapshot` and `restore`: carried out in the running dev environment, or here where nothing runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import ANSWER_S, KEEP, POLL_S, RESTORE, Wish, in_turn
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import owning, recorded_run, tidy
from greenroom.commands.dev.snapshots.moment import (
    check_new,
    find,
    keep,
    listed,
    local_time,
    megabytes,
    restore_at_rest,
)
from greenroom.commands.dev.snapshots.swap import finish
from greenroom.errors import AlreadyRunning, Misuse
from greenroom.snapshots import kept
from greenroom.snapshots.cache import SnapshotCache
from greenroom.spelling import command
from greenroom.waiting import scaled


def snapshot(
    folder: DevFolder,
    name: str,
    *,
    force: bool = False,
    list_them: bool = False,
    prune: bool = False,
    console: Console | None = None,
) -> int:
    """Keep the state under a name, or list or tidy up what is kept. Raises HarnessError or Misuse."""
    console = console or Console()
    if sum((bool(name), list_them, prune)) != 1:
        raise Misuse(f"one of a NAME, --list and --prune is needed; for example: {command('snapshot before')}")
    if list_them:
        return show(folder, console)
    if prune:
        return tidy_up(folder, console)
    check_new(folder, name, force=force)
    return _either(folder, Wish(KEEP, name=name, force=force), lambda: keep(folder, name, force=force), console)


def restore(folder: DevFolder, name: str, *, console: Console | None = None) -> int:
    """Bring a kept state back. Raises HarnessError or Misuse."""
    console = console or Console()
    if not name:
        raise Misuse(f"which snapshot? {command('snapshot --list')} lists them")
    find(folder, name)
    return _either(folder, Wish(RESTORE, name=name), lambda: restore_at_rest(folder, name), console)


def show(folder: DevFolder, console: Console) -> int:
    """Print name, time, size and blueprint of each snapshot."""
    found = list(listed(folder))
    if not found:
        console.say(f"no snapshots in {folder.snapshots}; make one: {command('snapshot NAME')}")
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        what = f"damaged: {each.problem}" if each.problem else ""
        whole = f"{local_time(each.at)}  {megabytes(each.size_bytes):>10}  {each.seed}"
        console.say(f"{each.name:<{width}}  {what or whole}")
    return 0


def tidy_up(folder: DevFolder, console: Console) -> int:
    """Remove what interrupted commands have left, and all kept seeds that are not in use. Named snapshots stay."""
    kept.remove_drafts(folder.snapshots)
    cache = SnapshotCache.chosen()
    removed = cache.prune(0)
    count = f"{len(removed)} seed{'' if len(removed) == 1 else 's'}"
    console.say(f"removed {count} from {cache.folder}; a seed is made again when it is needed")
    names = [each.name for each in listed(folder)]
    if names:
        console.say(f"kept {', '.join(names)}, each a folder in {folder.snapshots}")
    return 0


def _either(folder: DevFolder, wish: Wish, at_rest: Callable[[], str], console: Console) -> int:
    """Carry out a wish in the running environment; where nothing runs, do the work here."""
    deadline = time.monotonic() + scaled(ANSWER_S)
    while not _something_runs(folder):
        try:
            with owning(folder):
                if not _something_runs(folder):
                    return _at_rest(folder, at_rest, console)
        except AlreadyRunning:  # another command of this kind, or a `dev` that has begun: soon there is more to see
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
    return in_turn(folder, wish, console)


def _at_rest(folder: DevFolder, work: Callable[[], str], console: Console) -> int:
    tidy(folder)  # a killed `dev` may have left a container with the data in it
    finish(folder)
    console.say(work())
    return 0


def _something_runs(folder: DevFolder) -> bool:
    run = recorded_run(folder)
    return folder.state_file.exists() or bool(run and run.living())
