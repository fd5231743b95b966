"""Local state: survey what is there, refuse what is not the bot's, delete exactly what was planned. No network."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from greenroom_bot.config import local_paths
from greenroom_reset.database import SIDE_FILES, account_in, check_is_key_store, check_is_side_file
from greenroom_reset.errors import NotOurs, Refused
from greenroom_reset.plan import FileState, FileStep

# As in greenroom_bot.matrix, whose import would load the Matrix client. A draft ends with a process id.
SAVED_KEYS = {
    "session.json": {"user_id", "device_id", "access_token"},
    "cross_signing.json": {"user_id", "keys", "signed_device"},
}
_SAVED_FILE = re.compile(r"((?:session|cross_signing)\.json)(?:\.\d+)?")
_SAVED_BYTES = 65536  # the bot writes one or two thousand
# What nio writes beside it: one set of files for each device (nio/store/database.py), and one line of the lists.
_KEY_FILE = r"_.+\.(?:db(?P<side>-wal|-shm|-journal)?|(?P<list>trusted|blacklisted|ignored)_devices)"
_LISTED_DEVICE = re.compile(rb"@\S+ \S+ matrix-ed25519 \S+\n")


class Paths(NamedTuple):
    """Where the bot keeps its state, and whose it should be. The account is empty if no setting names it."""

    db: Path
    store: Path
    user_id: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Paths:
        """Read the two path settings as the bot does, and the account, which a local reset can do without."""
        return cls(*local_paths(environ), environ.get("MATRIX_USER_ID", ""))


def survey(paths: Paths, mounts: Collection[str] | None = None) -> list[FileStep]:
    """Return one step for each file of the bot's local state, absent ones too. Raises Refused; writes nothing.

    `mounts` are the paths on which something is mounted; None asks the kernel.
    """
    try:
        db, store = _checked(paths.db, "MATRIX_DB_PATH"), _checked(paths.store, "MATRIX_STORE_PATH")
        if db == store:
            raise Refused(f"MATRIX_DB_PATH and MATRIX_STORE_PATH are the same: {db}")
        sides = [db.with_name(db.name + suffix) for suffix in SIDE_FILES]
        database = list(filter(_is_there, (db, *sides)))
        in_store = _entries(store)
        files = [path for path in in_store if path not in database]
        _check_mounts([db, store, *database, *files], mount_points() if mounts is None else mounts)
        named = {"MATRIX_USER_ID": paths.user_id, f"the database {db}": _database_account(db, database)}
        named |= {str(path): _saved(path).get("user_id", "") for path in files if _is_saved(path)}
        _check_store_files(store, files, _one_account(named))
        steps = [
            FileStep(db, "database", "planned" if db in database else "already absent"),
            *(FileStep(path, "side file") for path in database if path != db),
            *(FileStep(path, "store file") for path in files),
            FileStep(store, "store directory", _directory_state(store, in_store)),
        ]
        _check_may_delete(steps)
        return steps
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
        raise Refused(f"cannot look at the bot's state: {what}") from error
    except RuntimeError as error:  # pathlib's error for a loop of symbolic links
        raise Refused(f"cannot look at the bot's state: {error}") from error


# Places


def _checked(path: Path, setting: str) -> Path:
    """Return the real path. Raises Refused for a path that is never one bot's state, whatever it holds."""
    try:
        real = path.resolve()
    except FileNotFoundError as error:
        raise Refused(f"{setting} {path} is relative, and the working directory is gone; go to another one") from error
    if path.is_symlink():
        raise Refused(f"{setting} {path} is a symbolic link to {real}; name the place itself")
    protected: dict[str, Callable[[], Path]] = {
        "the home directory": Path.home,
        "the working directory": Path.cwd,
        "the checkout": lambda: Path(__file__).parents[2],
    }
    for what, folder in protected.items():
        # A user without a home and a working directory that is gone have nothing to protect.
        with suppress(RuntimeError, FileNotFoundError):
            if folder().resolve().is_relative_to(real):
                raise Refused(f"{setting} {path} is {what} or holds it")
    if (real / ".git").exists() or (real / "pyproject.toml").exists():
        raise Refused(f"{setting} {path} is a source checkout")
    return real


def mount_points(table: Path = Path("/proc/self/mountinfo")) -> frozenset[str]:
    """Return the paths on which something is mounted, files too; none where there is no such table (not Linux)."""
    try:
        lines = table.read_bytes().splitlines()
    except OSError:
        return frozenset()
    octal = re.compile(rb"\\([0-7]{3})")  # of spaces, tabs, newlines and backslashes: see proc(5)
    return frozenset(os.fsdecode(octal.sub(lambda found: bytes([int(found[1], 8)]), line.split()[4])) for line in lines)


def _check_mounts(paths: list[Path], mounts: Collection[str]) -> None:
    """Raise Refused if one of the paths is a mount point: it cannot be deleted, and others may use what is mounted."""
    for path in paths:
        if str(path) in mounts or os.path.ismount(path):
            raise Refused(
                f"{path} is a mount point, as a container's volume is, and cannot be deleted. Nothing was changed. "
                "Mount a directory above it instead, or run this where it is not mounted"
            )


def _check_may_delete(steps: list[FileStep]) -> None:
    """Raise Refused if this user may not delete a planned file. A sticky directory (/tmp) is found out by trying."""
    for step in steps:
        folder = step.path.parent
        if step.state == "planned" and not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise Refused(
                f"{step.path} cannot be deleted, because this user may not write to {folder}. Nothing was changed. "
                f"Run this as the owner of that directory (uid {folder.stat().st_uid}), or make it writable"
            )


def _is_there(path: Path) -> bool:
    """Return whether a path exists. Raises OSError where that is unknown; `Path.exists` may return False there."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


# Contents


def _database_account(db: Path, database: list[Path]) -> str:
    """Return whose the database is, or an empty string. Raises Refused if a file at its place is not the bot's."""
    for path in database:
        if not _is_file(path):
            raise NotOurs(f"{path} is not a regular file, so not the bot's database", "MATRIX_DB_PATH")
    if db in database:
        return account_in(db)
    for side in database:
        check_is_side_file(side, "MATRIX_DB_PATH")
    return ""


def _entries(store: Path) -> list[Path]:
    if not _is_there(store):
        return []
    if not store.is_dir():
        raise NotOurs(f"MATRIX_STORE_PATH {store} is not a directory", "MATRIX_STORE_PATH")
    return sorted(store.iterdir())


def _directory_state(store: Path, in_store: list[Path]) -> FileState:
    """An empty directory stays: nothing in it shows whose it is, and the bot takes it over as it is."""
    return "planned" if in_store else "already empty" if _is_there(store) else "already absent"


def _is_saved(path: Path) -> bool:
    return bool(_SAVED_FILE.fullmatch(path.name)) and _is_file(path)


def _saved(path: Path) -> dict[str, Any]:
    """Return a saved session or the saved signing keys; nothing for the empty file that a full disk leaves.

    Raises Refused for any other content: it may be another program's.
    """
    with path.open("rb") as file:
        content = file.read(_SAVED_BYTES)
    if not content:
        return {}
    try:
        saved = json.loads(content)
    except (ValueError, RecursionError):
        saved = None
    name = _SAVED_FILE.sub(r"\1", path.name)
    texts = isinstance(saved, dict) and all(isinstance(text, str) for key, text in saved.items() if key != "keys")
    if texts and saved.keys() == SAVED_KEYS[name]:
        return dict(saved)
    raise NotOurs(f"{path} is damaged, or some other program's", "MATRIX_STORE_PATH")


def _one_account(named: Mapping[str, str]) -> str:
    """Return the account that settings, database and sessions name, or an empty string. Raises Refused for several."""
    accounts = {what: account for what, account in named.items() if account}
    if len(set(accounts.values())) > 1:
        whose = ", ".join(f"{what} names {account}" for what, account in accounts.items())
        raise Refused(f"this is the state of more than one account: {whose}. Nothing was changed. Correct the settings")
    return next(iter(accounts.values()), "")


def _check_store_files(store: Path, files: list[Path], account: str) -> None:
    """Raise Refused unless each file is saved by the bot or a key file of the account. Other programs use nio too."""
    key_file = re.compile((re.escape(account) or "@.+") + _KEY_FILE, re.DOTALL)
    keys = {path: found for path in files if _is_file(path) and (found := key_file.fullmatch(path.name))}
    if strange := [path for path in files if path not in keys and not _is_saved(path)]:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        names = [path.name + ("" if _is_file(path) else " (not a regular file)") for path in strange[:3]]
        raise NotOurs(
            f"MATRIX_STORE_PATH {store} holds more than a bot's store: {', '.join(names)}{more}", "MATRIX_STORE_PATH"
        )
    if keys and not account:
        raise Refused(
            f"MATRIX_STORE_PATH {store} holds key files, and no session or database says whose they are. "
            "Nothing was changed. Set MATRIX_USER_ID and run this again"
        )
    for path, found in keys.items():
        if found["list"]:
            _check_is_device_list(path)
        elif not found["side"]:
            check_is_key_store(path, account)
        elif path.with_name(path.name.removesuffix(found["side"])) not in keys:
            check_is_side_file(path, "MATRIX_STORE_PATH")


def _check_is_device_list(path: Path) -> None:
    """Raise Refused unless the file is empty or begins with one of nio's lines."""
    with path.open("rb") as file:
        first = file.readline(_SAVED_BYTES)
    if first and not _LISTED_DEVICE.fullmatch(first):
        raise NotOurs(f"{path} is not one of nio's lists of devices", "MATRIX_STORE_PATH")


# Acting


def token_left_without_keys(environ: Mapping[str, str], steps: list[FileStep]) -> str:
    """Return what a person has to do about MATRIX_ACCESS_TOKEN, or an empty string.

    The homeserver remembers the keys of the token's device. Without its store the bot would make other keys, which the
    homeserver refuses. A saved session with another token means that the bot has not used this one yet.
    """
    token = environ.get("MATRIX_ACCESS_TOKEN")
    files = [step.path for step in steps if step.what == "store file"]
    used = [saved["access_token"] for path in files if _is_saved(path) and "access_token" in (saved := _saved(path))]
    if not token or not files or (used and token not in used):
        return ""
    cure = (
        "unset it before the next start (the bot prefers it to MATRIX_PASSWORD), or make a new token"
        if environ.get("MATRIX_PASSWORD")
        else "make a new token before the next start, or set MATRIX_PASSWORD instead of it"
    )
    return (
        f"MATRIX_ACCESS_TOKEN belongs to a device whose keys go with the store, so the bot cannot use it again: {cure}"
    )


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
        if step.state == "already empty":
            continue
        if os.path.lexists(step.path):
            step.state, step.error = "failed", step.error or "is there again"
        elif step.state == "planned":
            step.state, step.error = "done", ""


def keep(steps: list[FileStep], why: str) -> None:
    """Give up the plan: what it would have deleted is kept, unless it has gone meanwhile."""
    for step in steps:
        if step.state == "planned":
            kept = os.path.lexists(step.path)
            step.state, step.error = ("kept", why) if kept else ("already absent", "gone since the plan was made")
