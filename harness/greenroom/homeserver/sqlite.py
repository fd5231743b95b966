"""Copies of SQLite databases that are whole and small, also while a homeserver writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from greenroom.errors import HarnessError

MAGIC = b"SQLite format 3\0"
WAIT_S = 30.0  # for another program's lock


def copy_database(source: Path, target: Path) -> None:
    """Copy a database, which may be in use, to the new file `target`, without its unused pages.

    The copy shows one moment: `VACUUM INTO` reads in one transaction, while others may write. Copying the file is not
    safe, because the latest changes are in the log beside it (`-wal`). Raises HarnessError, for example on a full disk.
    """
    target.touch(mode=0o600)
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT_S)) as database:
            database.execute("VACUUM INTO ?", (str(target),))  # takes an existing file if it is empty
    except sqlite3.Error as error:
        raise HarnessError(f"{source} cannot be copied: {error}") from error


def compact_databases(folder: Path) -> None:
    """Rewrite the databases directly in a folder that no server uses: one small file each, and no log beside it."""
    for path in folder.glob("*.db"):
        if not _is_database(path):
            continue
        copy = path.with_name(f"{path.name}.compact")
        copy_database(path, copy)
        for beside in folder.glob(f"{path.name}-*"):
            beside.unlink()
        copy.replace(path)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
