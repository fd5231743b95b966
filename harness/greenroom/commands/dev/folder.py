"""`.greenroom/`: the dev state of a project."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver.settings import replace_text
from greenroom.spelling import command

NAME = ".greenroom"
KEPT_FOR_LOGINS = ("secrets.json", "port")  # of the homeserver's folder: passwords follow from the secrets
PROJECT_FILES = ("pyproject.toml", ".git", "tasks.py", "setup.py")


@dataclass(frozen=True)
class DevFolder:
    """The dev state of one project; `project` is the folder with `.greenroom/` in it."""

    project: Path

    @classmethod
    def find(cls, start: Path | None = None) -> DevFolder:
        """Return the project of a folder (default: the working directory): the nearest with such files."""
        here = (start or Path.cwd()).resolve()
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
        except OSError as error:
            raise Misuse(f"{self.root} cannot be used: {error.strerror}") from None

    def wipe(self) -> None:
        """Remove the homeserver's data, the bot's state and the logs.

        The homeserver keeps its secrets and its port, so that the URL and the passwords in Matrix clients stay right.
        """
        data = [path for path in self.homeserver.glob("*") if path.name not in KEPT_FOR_LOGINS]
        for path in (*data, self.bot, self.root / "logs", self.state_file, self.env_file):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def rotate_logs(self) -> None:
        """Start new logs; keep the previous ones as `.1`."""
        for name in ("homeserver", "bot"):
            if self.log(name).exists():
                self.log(name).replace(self.log(name).with_suffix(".log.1"))

    def write_state(self, state: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Write `dev.json` and `dev.env`, each atomically."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
        replace_text(self.env_file, "".join(lines))
        replace_text(self.state_file, json.dumps(state, indent=2) + "\n")

    def state(self) -> dict[str, Any]:
        """Read `dev.json`. Raises HarnessError if no dev environment runs here."""
        try:
            data = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            raise HarnessError(f"no dev environment runs in {self.project}; try: {command('dev')}") from None
        except ValueError as error:
            raise HarnessError(
                f"{self.state_file} is damaged ({error}); try: {command('down')}, then {command('dev')}"
            ) from None
        if not isinstance(data, dict) or data.get("version") != 1:
            raise HarnessError(f"{self.state_file} was written by another version of Greenroom; try: {command('down')}")
        return data

    def environment(self, outer: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the variables of `dev.env` and of `outer`; those of `outer` win."""
        return {**self.recorded_environment(), **outer}

    def recorded_environment(self) -> dict[str, str]:
        """Return the variables of `dev.env`; none if no dev environment was ever started."""
        if not self.env_file.exists():
            return {}
        lines = shlex.split(self.env_file.read_text(), comments=True)
        return {name: value for name, _, value in (line.partition("=") for line in lines)}
