"""Keep the dev state of one moment under a name, and bring it back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenroom.commands.dev.folder import SECRETS, DevFolder
from greenroom.commands.dev.parts import START, STOP, Parts
from greenroom.commands.dev.snapshots.swap import (
    ENVIRONMENT,
    FOLDERS,
    STATE,
    check_finished,
    explained,
    put_in_place,
    remove,
    stage,
)
from greenroom.errors import HarnessError, Misuse
from greenroom.snapshots import kept
from greenroom.snapshots.kept import Snapshot, SnapshotDamaged
from greenroom.spelling import command
from greenroom.yaml_files.names import did_you_mean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # no path, no hidden file, no option
# A lock holds nothing, and the homeserver's configuration is written anew at each start, with the paths of then.
LEFT_OUT = {"homeserver/lock", "homeserver/homeserver.yaml", "homeserver/log.yaml"}
NEW, REPLACED = ".new-", ".replaced-"  # of a snapshot that takes the name of another one


@dataclass(frozen=True)
class Listed:
    """One line of the list. `problem` says why a snapshot cannot be used."""

    name: str
    at: str = ""
    size_bytes: int = 0
    seed: str = ""
    problem: str = ""


def check_name(name: str) -> None:
    """Raise Misuse unless this can be the name of a snapshot."""
    if not NAME.fullmatch(name):
        raise Misuse(f"a snapshot's name has letters, digits, '.', '_' and '-', at most 64, not {name!r}")


def check_new(folder: DevFolder, name: str, *, force: bool) -> None:
    """Raise Misuse if the name is taken and may not be, HarnessError if there is nothing to keep."""
    check_name(name)
    if (folder.snapshots / name).exists() and not force:
        raise Misuse(f"there is a snapshot {name} already. Try: another name, or --force to replace it")
    if not (folder.homeserver / SECRETS).exists():
        raise HarnessError(f"there is no dev state in {folder.project} to keep; try: {command('dev')}")


def find(folder: DevFolder, name: str) -> Snapshot:
    """Return a snapshot. Raises Misuse if there is none of that name, SnapshotDamaged if it cannot be used."""
    check_name(name)
    places = _places(folder)
    if name not in places or (found := kept.read(places[name])) is None:
        known = sorted(places)
        there = f"there are {', '.join(known)}" if known else f"there are none; try: {command('snapshot NAME')}"
        raise Misuse(f"no such snapshot: {name!r}{did_you_mean(name, known)}; {there}")
    return found


def listed(folder: DevFolder) -> Iterator[Listed]:
    """Yield all snapshots by their names."""
    for name, place in sorted(_places(folder).items()):
        try:
            found = kept.read(place)
        except SnapshotDamaged as damaged:
            yield Listed(name, problem=damaged.problem)
            continue
        if found is not None:
            yield Listed(name, str(found.facts.get("at")), found.size_bytes, str(found.facts.get("seed")))


def _places(folder: DevFolder) -> dict[str, Path]:
    """Return where the snapshot of each name is: perhaps not in its place yet (see `settle`)."""
    new = {path.name.removeprefix(NEW): path for path in folder.snapshots.glob(f"{NEW}*")}
    return new | {path.name: path for path in folder.snapshots.glob("[!.]*") if path.is_dir()}


def keep(folder: DevFolder, name: str, *, force: bool = False) -> str:
    """Keep the state, in which nothing may be running; return a line about it. Raises HarnessError or Misuse."""
    check_finished(folder)
    check_new(folder, name, force=force)
    settle(folder)
    target = folder.snapshots / name
    draft = folder.snapshots / f"{NEW}{name}" if target.exists() else target
    with explained(f"the snapshot {name} cannot be written"), kept.writing(draft, _facts(folder)) as files:
        _copy(folder, files)
    settle(folder)
    return f"snapshot: {name} kept, {megabytes(find(folder, name).size_bytes)}"


def settle(folder: DevFolder) -> None:
    """Let finished snapshots take the place of older ones of their names, also after a crash in between.

    This needs the ownership of the dev environment, and so does all that keeps or restores.
    """
    with explained("the snapshots cannot be put in order"):
        for new in folder.snapshots.glob(f"{NEW}*"):
            place, old = (new.with_name(mark + new.name.removeprefix(NEW)) for mark in ("", REPLACED))
            if place.exists():
                remove(old)
                place.rename(old)
            new.rename(place)
        for old in folder.snapshots.glob(f"{REPLACED}*"):
            remove(old)


async def keeping(parts: Parts, name: str, *, force: bool = False) -> AsyncIterator[str]:
    """Stop what runs, keep the state, and start the same again. Yield a line about each."""
    check_new(parts.folder, name, force=force)
    running = await parts.running()
    async for line in parts.act(STOP, running):
        yield line
    await parts.bring_home()
    try:
        yield keep(parts.folder, name, force=force)
    except HarnessError:
        async for line in parts.act(START, running):
            yield line
        raise
    async for line in parts.act(START, running):
        yield line


async def restoring(parts: Parts, name: str) -> AsyncIterator[str]:
    """Check the snapshot, stop what runs, restore the state, and start the same again. Yield a line about each."""
    settle(parts.folder)
    snapshot = find(parts.folder, name)
    stage(parts.folder, snapshot)  # a damaged one ends here, before anything has changed
    running = await parts.running()
    async for line in parts.act(STOP, running):
        yield line
    await parts.bring_home()
    put_in_place(parts.folder)
    parts.read_again()
    yield restored_line(snapshot)
    async for line in parts.act(START, running):
        yield line


def restore_at_rest(folder: DevFolder, name: str) -> str:
    """Restore the state, in which nothing may be running; return a line about it. Raises HarnessError or Misuse."""
    settle(folder)
    snapshot = find(folder, name)
    stage(folder, snapshot)
    put_in_place(folder)
    return restored_line(snapshot)


def restored_line(snapshot: Snapshot) -> str:
    """Return the line about a restored snapshot."""
    return f"snapshot: {snapshot.folder.name} restored, as of {local_time(str(snapshot.facts.get('at')))}"


def local_time(at: str) -> str:
    """Return a time in ISO format as a person reads it."""
    try:
        return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return at


def megabytes(size_bytes: int) -> str:
    """Return a size in words."""
    return f"{size_bytes / 1_000_000:.1f} MB"


def _facts(folder: DevFolder) -> dict[str, Any]:
    seeded = [path.name.removeprefix("seeded-") for path in sorted(folder.homeserver.glob("seeded-*"))]
    seed = folder.last_state().get("seed") or ", ".join(seeded)
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seed": seed}


def _copy(folder: DevFolder, files: Path) -> None:
    for path in _files(folder):
        target = files / path.relative_to(folder.root)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (files / STATE).write_text(json.dumps(folder.last_state()))
    (files / ENVIRONMENT).write_text(json.dumps(folder.recorded_environment()))


def _files(folder: DevFolder) -> Iterator[Path]:
    """Yield what a snapshot holds. Raises HarnessError for a link: half of the state would be elsewhere."""
    for name in FOLDERS:
        for path in sorted((folder.root / name).rglob("*")):
            if path.is_symlink():
                raise HarnessError(
                    f"{path} is a symbolic link, and a snapshot holds files only; replace it by its target"
                )
            if path.is_file() and path.relative_to(folder.root).as_posix() not in LEFT_OUT:
                yield path
