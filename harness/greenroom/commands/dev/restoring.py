"""The blueprint of a fresh dev homeserver: its data comes from a snapshot, with the dev homeserver's own secrets.

From the first copied file until all passwords are its own, the homeserver's folder holds a mark. A `dev` that was
killed in between leaves the mark, and the next one begins again with an empty folder.
"""

from __future__ import annotations

import time

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import KEPT_FOR_LOGINS, SECRETS, DevFolder
from greenroom.commands.dev.options import DevOptions
from greenroom.commands.dev.parts import Parts
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.choose import Choice
from greenroom.homeserver.settings import SERVER_NAME, Secrets, replace_text
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.logins import accounts_with
from greenroom.seed.note import Note, note_path, write_note

MARK = "restoring"


def is_half_restored(folder: DevFolder) -> bool:
    """Return whether a `dev` was killed before the homeserver had all that its blueprint says."""
    return (folder.homeserver / MARK).exists()


async def restore_seed(parts: Parts, options: DevOptions, console: Console) -> bool:
    """Fill the folder of a homeserver that has no data yet. A snapshot that does not exist is made first.

    Return whether that was done. It is not if there is data already, or if no snapshot can be kept: then seed the
    homeserver when it runs.
    """
    folder = parts.folder
    if any(path.name not in KEPT_FOR_LOGINS for path in folder.homeserver.glob("*")):
        return False
    from greenroom.snapshots.cache import SnapshotCache  # with what seeding needs, a tenth of a second
    from greenroom.snapshots.seeded import Nursery

    folder.homeserver.mkdir(mode=0o700, exist_ok=True)
    replace_text(folder.homeserver / MARK, "")
    began = time.monotonic()
    nursery = Nursery(options.choice, parts.run, folder.log("nursery"), SnapshotCache.chosen())
    filled = await nursery.fill(
        folder.homeserver,
        HomeserverSettings(),
        options.blueprint,
        leave_out=[SECRETS],
        on_progress=console.progress("seed"),
    )
    if filled is None:
        (folder.homeserver / MARK).unlink()
        return False
    _take_over(folder, options.choice, options.blueprint)
    took = f"{time.monotonic() - began:.1f} s"
    if filled.made is None:
        console.say(f"seed: {options.blueprint.name}, restored from a snapshot, {took}")
    else:
        console.say(f"seed: {options.blueprint.name}, {filled.made} steps, {took}; the next fresh start restores them")
    return True


def _take_over(folder: DevFolder, choice: Choice, blueprint: Blueprint) -> None:
    """Make the passwords of restored accounts those of the dev homeserver, and note what was applied."""
    from greenroom.snapshots.renewed import change_passwords

    secret = Secrets.kept_in(folder.homeserver / SECRETS).registration_shared_secret
    accounts = accounts_with(blueprint, SERVER_NAME, secret)
    change_passwords(folder.homeserver / choice.kind.database, {one.user_id: one.password for one in accounts})
    write_note(note_path(folder.homeserver, blueprint), Note.of(blueprint))
    (folder.homeserver / MARK).unlink()
