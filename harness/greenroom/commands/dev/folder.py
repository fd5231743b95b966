"""`.greenroom/`: the dev state of a project."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver.settings import DamagedSecrets, Secrets, replace_text
from greenroom.spelling import command

NAME = ".greenroom"
SECRETS = "secrets.json"
KEPT_FOR_LOGINS = (SECRETS, "port")  # of the homeserver's folder: passwords follow from the secrets
STATE_KEYS = {
    "homeserver": ("url", "server_name", "kind", "backend", "log"),
    "bot": ("user_id", "log", "command"),
}
PROJECT_FILES = ("pyproject.toml", ".git", "tasks.py", "setup.py")


@dataclass(frozen=True)
class DevFolder:
    """The dev state of one project; `project` is the folder with `.greenroom/` in it."""

    project: Path

    @classmethod
    def find(cls, start: Path | None = None) -> DevFolder:
        """Return the project of a folder (default: the working directory): the nearest with such files.

        Raises Misuse if the working directory was deleted.
        """
        try:
            here = (start or Path.cwd()).resolve()
        except FileNotFoundError:
            raise Misuse("the working directory is gone; change to a folder that exists") from None
        for folder in (here, *here.parents):
            if any((folder / name).exists() for name in (NAME, *PROJECT_FILES)):
                return cls(folder)
        return cls(here)

    @property
    def root(self) -> Path:
        """`.greenroom/` itself."""
        return self.project / NAME

    @property
    def homeserver(self) -> Path:
        """The homeserver's configuration, secrets and database."""
        return self.root / "homeserver"

    @property
    def bot(self) -> Path:
        """The bot's database and store."""
        return self.root / "bot"

    @property
    def state_file(self) -> Path:
        """`dev.json`: exists while a dev environment runs."""
        return self.root / "dev.json"

    @property
    def last_state_file(self) -> Path:
        """`last.json`: what `dev.json` says, or said before everything was stopped."""
        return self.root / "last.json"

    @property
    def snapshots(self) -> Path:
        """The named snapshots of this dev state."""
        return self.root / "snapshots"

    @property
    def ignored(self) -> Path:
        """A `.gitignore` for the folder itself: nothing in here belongs into a repository."""
        return self.root / ".gitignore"

    @property
    def requests(self) -> Path:
        """What `start`, `stop` and `restart` ask of a `dev` in the foreground."""
        return self.root / "requests"

    @property
    def stage_file(self) -> Path:
        """The address of the stage, with its key: exists while a `dev --stage` serves the page."""
        return self.root / "stage"

    @property
    def env_file(self) -> Path:
        """`dev.env`: the MATRIX_* variables, for `set -a; . .greenroom/dev.env`."""
        return self.root / "dev.env"

    def log(self, name: str) -> Path:
        """The log of `homeserver` or `bot`."""
        return self.root / "logs" / f"{name}.log"

    def prepare(self) -> None:
        """Make the folder, readable by its owner only. Raises Misuse if that is not possible."""
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
            info = self.root.lstat()
            if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
                raise Misuse(f"{self.root} is not a folder that belongs to you")
            self.root.chmod(0o700)
            self.log("bot").parent.mkdir(exist_ok=True)
            if not self.ignored.exists():
                self.ignored.write_text("*\n")
        except OSError as error:
            raise Misuse(f"{error.filename or self.root} cannot be used: {error.strerror}") from None

    def wipe(self) -> None:
        """Remove the homeserver's data, the bot's state and the logs. Raises OSError if something cannot be removed.

        The homeserver keeps its secrets and its port, so that the URL and the passwords in Matrix clients stay right.
        Named snapshots stay too.
        """
        kept = KEPT_FOR_LOGINS if self._has_secrets() else ()
        data = [path for path in self.homeserver.glob("*") if path.name not in kept]
        for path in (*data, self.bot, self.root / "logs", self.state_file, self.last_state_file, self.env_file):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def check_data(self, database: str) -> None:
        """Raise HarnessError if the homeserver was seeded, and its database or its secrets are gone.

        Both would be made anew without a word. But what the bot remembers belongs to the database, and the passwords
        of the accounts in it follow from the secrets.
        """
        if not any(self.homeserver.glob("seeded-*")):
            return
        path, secrets = self.homeserver / database, self.homeserver / SECRETS
        if not ((path.is_file() and path.stat().st_size) or (path.is_dir() and any(path.iterdir()))):
            gone, why = f"the homeserver's database {path} is gone", "what the bot remembers belongs to it"
        elif not secrets.exists():
            gone, why = f"{secrets} is gone", "the passwords follow from it"
        else:
            return
        raise HarnessError(f"{gone}, and {why}; put it back, or start over: {command('dev --fresh')}")

    def _has_secrets(self) -> bool:
        try:
            Secrets.read(self.homeserver / SECRETS)
        except (DamagedSecrets, FileNotFoundError):
            return False
        return True

    def rotate_logs(self) -> None:
        """Start new logs; keep the previous ones as `.1`."""
        for name in ("homeserver", "bot"):
            if self.log(name).exists():
                self.log(name).replace(self.log(name).with_suffix(".log.1"))

    def write_state(self, state: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Write `dev.json`, and what stays when nothing runs: `last.json` and `dev.env`. Each is written atomically."""
        self.write_last(state, environment)
        replace_text(self.state_file, _as_json(state))

    def write_last(self, state: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Write `last.json` and `dev.env`, each atomically."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
        replace_text(self.env_file, "".join(lines))
        replace_text(self.last_state_file, _as_json(state))

    def seeded(self, seed: str, logins: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Note in `dev.json` what was applied, and who else can log in (user id, password); return the new ones."""
        state = self.state()
        known = {person["user_id"]: person["password"] for person in state["people"]}
        new = [(user_id, password) for user_id, password in logins if known.get(user_id) != password]
        people = [{"user_id": user_id, "password": password} for user_id, password in (known | dict(new)).items()]
        for path in (self.last_state_file, self.state_file):
            replace_text(path, _as_json({**state, "seed": seed, "people": people}))
        return new

    def state(self) -> dict[str, Any]:
        """Read `dev.json`. Raises HarnessError if no dev environment runs here."""
        try:
            data = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            raise HarnessError(f"no dev environment runs in {self.project}; try: {command('dev')}") from None
        except (OSError, ValueError) as error:
            raise HarnessError(
                f"{self.state_file} is damaged ({error}); try: {command('down')}, then {command('dev')}"
            ) from None
        if not isinstance(data, dict) or data.get("version") != 1:
            raise HarnessError(f"{self.state_file} was written by another version of Greenroom; try: {command('down')}")
        if missing := _missing(data):
            raise HarnessError(
                f"{self.state_file} is damaged ({missing} is missing); try: {command('down')}, then {command('dev')}"
            )
        return data

    def environment(self, outer: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the variables of `dev.env` and of `outer`; those of `outer` win."""
        return {**self.recorded_environment(), **outer}

    def recorded_environment(self) -> dict[str, str]:
        """Return the variables of `dev.env`; none if no dev environment was ever started. Raises HarnessError."""
        try:
            text = self.env_file.read_text() if self.env_file.exists() else ""
            lines = [line.partition("=") for line in shlex.split(text, comments=True)]
        except ValueError as error:
            raise self._damaged_environment(str(error)) from None
        if not lines and self.state_file.exists():
            raise self._damaged_environment("it is empty or gone")
        for name, equals, _ in lines:
            if not equals or not name.isidentifier():
                raise self._damaged_environment(f"{name[:40]!r} is no NAME=VALUE")
        return {name: value for name, _, value in lines}

    def _damaged_environment(self, problem: str) -> HarnessError:
        again = f"{command('down')}, then {command('dev')}"
        return HarnessError(f"{self.env_file} is damaged ({problem}); it is written again by: {again}")

    def last_state(self) -> dict[str, Any]:
        """Return what `dev.json` says, or said last; nothing if that is not known."""
        try:
            data = json.loads(self.last_state_file.read_text())
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) and not _missing(data) else {}


def _as_json(state: Mapping[str, Any]) -> str:
    return json.dumps(state, indent=2) + "\n"


def _missing(state: Mapping[str, Any]) -> str:
    """Return the first key that a whole `dev.json` has and this one lacks."""
    for part, keys in STATE_KEYS.items():
        if not isinstance(state.get(part), dict):
            return part
        for key in keys:
            if not isinstance(state[part].get(key), str):
                return f"{part}.{key}"
    people = state.get("people")
    whole = isinstance(people, list) and all(
        isinstance(one, dict) and {"user_id", "password"} <= set(one) for one in people
    )
    return "" if whole and isinstance(state.get("env_file"), str) else "people or env_file"
