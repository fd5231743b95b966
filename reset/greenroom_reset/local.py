"""Local state: survey what is there, refuse what is not the bot's, delete exactly what was planned. No network."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from greenroom_bot.config import Config
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
        """Read the two path settings as the bot does; the account is of use where no session names it."""
        db, store = (Config.__dataclass_fields__[name] for name in ("db_path", "store_path"))
        paths = [Path(environ.get(str(f.metadata["env"])) or str(f.default)) for f in (db, store)]
        return cls(paths[0], paths[1], environ.get("MATRIX_USER_ID", ""))

    @property
    def journal(self) -> Path:
        """Where an interrupted server reset leaves its progress: beside the database, or under longer names there.

        Raises Refused where the setting names no file to be beside.
        """
        if self.db.name in ("", ".."):
            raise Refused(f"MATRIX_DB_PATH {self.db} names no file")
        return self.db.with_name(f"{self.db.name}.reset-journal")


def survey(paths: Paths) -> tuple[FileStep, ...]:
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
            check_is_ours(db, vouched=(store / "session.json").is_file())
        else:
            for side in filter(_is_there, sides):
                check_is_side_file(side)
        steps = [FileStep(db, "database", _is_there(db))]
        steps += [FileStep(side, "side file", True) for side in sides if _is_there(side)]
        store_file = _store_file(_account(store) or paths.user_id)
        database_names = {path.name for path in (db, *sides)} if db.parent == store else None
        steps += _store_steps(store, store_file, paths.journal.name, database_names)
        return (*steps, FileStep(store, "store directory", _is_there(store)))
    except (OSError, RuntimeError) as why:  # RuntimeError: pathlib's word for a loop of symbolic links
        raise Refused(f"cannot look at the bot's state: {why}") from why


def _checked(path: Path, setting: str) -> Path:
    """Return the real path. Raises Refused for what is never one bot's state, whatever it holds."""
    real = path.resolve()
    if path.is_symlink():
        raise Refused(f"{setting} {path} is a symbolic link to {real}; name the place itself")
    protected = {"the home directory": Path.home(), "the working directory": Path.cwd(), "the checkout": _checkout()}
    for what, folder in protected.items():
        if folder.resolve().is_relative_to(real):
            raise Refused(f"{setting} {path} is {what} or holds it")
    if (real / ".git").exists() or (real / "pyproject.toml").exists():
        raise Refused(f"{setting} {path} is a source checkout")
    if os.path.ismount(real):
        raise Refused(f"{setting} {path} is a mount point; name a directory below it")
    return real


def _checkout() -> Path:
    return Path(__file__).parents[2]


def _is_there(path: Path) -> bool:
    """Tell absent from unknown: a directory that may not be looked into is an OSError, where Path.exists may say no."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _account(store: Path) -> str:
    """Return whose the saved session is, or nothing."""
    try:
        return str(json.loads((store / "session.json").read_text())["user_id"])
    except (OSError, ValueError, TypeError, LookupError):
        return ""


def _store_file(user_id: str) -> re.Pattern[str]:
    """Return what is ours in a store: key files only of the bot's own account, other bots and people use nio too."""
    return re.compile(f"{_SESSION_FILE}|{re.escape(user_id)}{_KEY_FILE}" if user_id else _SESSION_FILE, re.DOTALL)


def _store_steps(
    store: Path, store_file: re.Pattern[str], journal: str, database_names: set[str] | None
) -> list[FileStep]:
    """Return steps for the store's files and, should the database live there, for its journals; the caller has planned
    the ``database_names``. Raises Refused if there is anything else."""
    if not _is_there(store):
        return []
    if not store.is_dir():
        raise Refused(f"MATRIX_STORE_PATH {store} is not a directory")
    steps, strange = [], []
    with os.scandir(store) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            is_journal = database_names is not None and entry.name.startswith(journal)
            if entry.name in (database_names or ()):
                continue
            if entry.is_file(follow_symlinks=False) and (is_journal or store_file.fullmatch(entry.name)):
                steps.append(FileStep(Path(entry.path), "side file" if is_journal else "store file", True))
            else:
                strange.append(entry.name)
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise Refused(f"MATRIX_STORE_PATH {store} holds more than a bot's store: {', '.join(strange[:3])}{more}")
    return steps


def delete(steps: tuple[FileStep, ...]) -> dict[Path, str]:
    """Delete what the steps name and nothing else; return what went wrong, by path. One failure does not stop the rest.

    The database goes before its side files: SQLite ignores a log whose database is gone, but not the other way round.
    """
    failures = {}
    for step in steps:
        if not step.present:
            continue
        try:
            step.path.rmdir() if step.what == "store directory" else step.path.unlink()
        except FileNotFoundError:
            pass
        except OSError as why:
            failures[step.path] = why.strerror or str(why)
    for step in steps:
        if os.path.lexists(step.path):
            failures.setdefault(step.path, "is there again")
    return failures
