"""Replace the dev state by a snapshot, whole: a crash leaves the old state, or a restore that is finished later.

`stage` copies and checks the snapshot beside the state, as `restoring.draft`. Renaming that to `restoring` decides:
from then on the new state counts, and `finish` moves each part to its place. Each of its steps can be repeated, so
the next command after a crash calls `finish` again. All of this needs the ownership of the dev environment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from greenroom.bot_process import matrix_environment
from greenroom.commands.dev.folder import DevFolder
from greenroom.errors import HarnessError
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.people.accounts import Account
from greenroom.snapshots.kept import Snapshot
from greenroom.spelling import command

FOLDERS = ("homeserver", "bot")  # below `.greenroom/`, and below a snapshot's files
ENVIRONMENT, STATE = "dev.env.json", "last.json"  # of a snapshot: the bot's variables, and what `dev.json` said
PENDING, DRAFT, DONE = "restoring", "restoring.draft", "restoring.done"
IDENTITY = ("MATRIX_HOMESERVER", "MATRIX_USER_ID", "MATRIX_PASSWORD")


def stage(folder: DevFolder, snapshot: Snapshot) -> None:
    """Copy a snapshot beside the state, which stays as it is. Raises SnapshotDamaged, or HarnessError."""
    draft = folder.root / DRAFT
    with explained("the snapshot cannot be copied"):
        remove(draft)
        try:
            snapshot.copy_to(draft / "new")
            for name in FOLDERS:
                (draft / "new" / name).mkdir(mode=0o700, exist_ok=True)  # a bot that never ran has no files
        except BaseException:
            remove(draft)
            raise


def put_in_place(folder: DevFolder) -> None:
    """Make the staged snapshot the state. Raises HarnessError; then `finish` has to be called again."""
    with explained("the restored state cannot be put in its place"):
        remove(folder.root / PENDING)  # an earlier restore that could not be finished; this one replaces all of it
        (folder.root / DRAFT).rename(folder.root / PENDING)
    finish(folder)


def finish(folder: DevFolder) -> bool:
    """Complete a restore that was decided; return whether there was one. Raises HarnessError."""
    pending, done = folder.root / PENDING, folder.root / DONE
    with explained("an interrupted restore cannot be finished"):
        remove(done)
        remove(folder.root / DRAFT)  # of a command that was interrupted before it had decided
        if not pending.exists():
            return False
        for name in FOLDERS:
            if (pending / "new" / name).exists():  # else it is in its place already
                remove(folder.root / name)
                (pending / "new" / name).rename(folder.root / name)
        _write_notes(folder, _read(pending / "new" / STATE), _read(pending / "new" / ENVIRONMENT))
        pending.rename(done)
        remove(done)
    return True


def check_finished(folder: DevFolder) -> None:
    """Raise HarnessError if a restore was interrupted: what is in place then may be of two moments."""
    if (folder.root / PENDING).exists():
        raise HarnessError(
            f"a restore in {folder.project} was interrupted; finish it: {command('down')}, then {command('dev')}"
        )


def _write_notes(folder: DevFolder, then: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Bring dev.env, last.json and, if there is one, dev.json in step with the state that is in place now.

    Of these files those that are damaged count as absent: the restore must come to its end.
    """
    known: dict[str, str] = {}
    with suppress(HarnessError):
        known = folder.recorded_environment()
    environment = _environment(folder, known, environment)
    with suppress(HarnessError):
        now = folder.state()
        folder.write_state({**now, **told_again(now, then)}, environment)
        return
    folder.write_last(then, environment)


def told_again(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return what changes in `dev.json`: who can log in, the blueprint, and the homeserver's port and kind.

    Which bot is run stays, and so does the backend, unless this is another kind of homeserver.
    """
    if not then:
        return {}
    server, before = now["homeserver"], then["homeserver"]
    same = server["kind"] == before["kind"]
    url = f"{server['url'].rpartition(':')[0]}:{before['url'].rpartition(':')[2]}" if same else before["url"]
    moved = {"url": url, "server_name": before["server_name"], "kind": before["kind"]}
    moved |= {} if same else {"backend": before["backend"]}
    return {"people": then["people"], "seed": then.get("seed"), "homeserver": {**server, **moved}}


def _environment(folder: DevFolder, now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """Return the bot's variables: the account of then, the paths of here, and the other settings of now."""
    if not then:
        return dict(now)
    url, user_id, password = (then.get(name, "") for name in IDENTITY)
    if host := now.get("MATRIX_HOMESERVER", "").rpartition(":")[0]:
        url = f"{host}:{url.rpartition(':')[2]}"
    server = ExternalHomeserver(url, user_id.partition(":")[2])
    return {**(now or then), **matrix_environment(server, Account(user_id, password), folder.bot)}


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn a failure of the disk into a HarnessError: a `dev` that was asked to do this must go on."""
    try:
        yield
    except OSError as error:
        place = error.filename2 or error.filename or ""
        raise HarnessError(f"{what}: {place}: {error.strerror}") from error


def remove(path: Path) -> None:
    """Remove a folder of ours, whether it is there or not."""
    if path.exists():
        shutil.rmtree(path)
