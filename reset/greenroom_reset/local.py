"""Local state: survey what is there, refuse what is not the bot's, delete exactly what was planned. No network."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from greenroom_bot.config import local_paths
from greenroom_reset.database import SIDE_FILES, check_is_ours, check_is_side_file
from greenroom_reset.errors import Refused
from greenroom_reset.plan import FileStep

# What the bot's session and nio's stores write (nio/store/database.py): one set of key files for each device.
_SESSION_FILE = r"session\.json(\.\d+)?"
_KEY_FILE = r"_.+\.(db(-wal|-shm|-journal)?|(trusted|blacklisted|ignored)_devices)"


class Paths(NamedTuple):
    """Where the bot keeps its state."""

    db: Path
    store: Path
    user_id: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Paths:
        """Read the two path settings as the bot does, and the account, which matters where no session names it."""
        return cls(*local_paths(environ), environ.get("MATRIX_USER_ID", ""))


def survey(paths: Paths) -> list[FileStep]:
    """Return one step for each file of the bot's local state, absent ones too. Raises Refused; writes nothing."""
    try:
        db, store = _checked(paths.db, "MATRIX_DB_PATH"), _checked(paths.store, "MATRIX_STORE_PATH")
        if db == store:
            raise Refused(f"MATRIX_DB_PATH and MATRIX_STORE_PATH are the same: {db}")
        sides = [db.with_name(db.name + suffix) for suffix in SIDE_FILES]
        for path in (db, *sides):
            if _is_there(path) and not stat.S_ISREG(path.lstat().st_mode):
                raise Refused(f"{path} is not a regular file, so not the bot's database")
        if _is_there(db):
            check_is_ours(db)
        else:
            for side in filter(_is_there, sides):
                check_is_side_file(side)
        return [
            FileStep(db, "database", "planned" if _is_there(db) else "already absent"),
            *(FileStep(side, "side file") for side in sides if _is_there(side)),
            *_store_steps(store, _store_file(_account(store) or paths.user_id), besides={db, *sides}),
            FileStep(store, "store directory", "planned" if _is_there(store) else "already absent"),
        ]
    except (OSError, RuntimeError) as error:  # RuntimeError: pathlib's error for a loop of symbolic links
        raise Refused(f"cannot look at the bot's state: {error}") from error


def _checked(path: Path, setting: str) -> Path:
    """Return the real path. Raises Refused for a path that is never one bot's state, whatever it holds."""
    real = path.resolve()
    if path.is_symlink():
        raise Refused(f"{setting} {path} is a symbolic link to {real}; name the place itself")
    protected = {
        "the home directory": Path.home(),
        "the working directory": Path.cwd(),
        "the checkout": Path(__file__).parents[2],
    }
    for what, folder in protected.items():
        if folder.resolve().is_relative_to(real):
            raise Refused(f"{setting} {path} is {what} or holds it")
    if (real / ".git").exists() or (real / "pyproject.toml").exists():
        raise Refused(f"{setting} {path} is a source checkout")
    if os.path.ismount(real):
        raise Refused(f"{setting} {path} is a mount point; name a directory below it")
    return real


def _is_there(path: Path) -> bool:
    """Return whether a path exists. Raises OSError where that is unknown; `Path.exists` may return False there."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _account(store: Path) -> str:
    """Return the user id in the saved session, or an empty string."""
    try:
        return str(json.loads((store / "session.json").read_text())["user_id"])
    except (OSError, ValueError, TypeError, LookupError):
        return ""


def _store_file(user_id: str) -> re.Pattern[str]:
    """Return a pattern of the bot's files in a store: key files of its own account only, other programs use nio too."""
    return re.compile(f"{_SESSION_FILE}|{re.escape(user_id)}{_KEY_FILE}" if user_id else _SESSION_FILE, re.DOTALL)


def _store_steps(store: Path, store_file: re.Pattern[str], besides: set[Path]) -> list[FileStep]:
    """Return steps for the store's files, `besides` the database's should it live there. Raises Refused if the store
    holds anything else."""
    if not _is_there(store):
        return []
    if not store.is_dir():
        raise Refused(f"MATRIX_STORE_PATH {store} is not a directory")
    steps, strange = [], []
    for path in sorted(set(store.iterdir()) - besides):
        if store_file.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode):
            steps.append(FileStep(path, "store file"))
        else:
            strange.append(path.name)
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise Refused(f"MATRIX_STORE_PATH {store} holds more than a bot's store: {', '.join(strange[:3])}{more}")
    return steps


def delete(steps: list[FileStep]) -> None:
    """Delete what the steps name and nothing else. One failure does not stop the rest.

    The database goes before its side files: SQLite ignores a log whose database is gone, but not the other way round.
    """
    for step in steps:
        if step.state != "planned":
            continue
        try:
            step.path.rmdir() if step.what == "store directory" else step.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            step.error = error.strerror or str(error)
    for step in steps:
        if os.path.lexists(step.path):
            step.state, step.error = "failed", step.error or "is there again"
        elif step.state == "planned":
            step.state, step.error = "done", ""
