"""The virtual environments of the zoo: one for each bot, made once from its pinned requirements and kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALL_S = 600


class NotInstalled(Exception):
    """A bot's packages cannot be installed. Its text is one line for a person."""


def names() -> list[str]:
    """Return the bots of the zoo: the folders that have requirements."""
    return sorted(file.parent.name for file in HERE.glob("*/requirements.txt"))


def home() -> Path:
    """Return the folder of the environments: GREENROOM_ZOO, or one that Git ignores in the checkout."""
    return Path(os.environ.get("GREENROOM_ZOO") or ROOT / ".greenroom" / "zoo").absolute()


@dataclass(frozen=True)
class Environment:
    """The virtual environment of a bot, shared by all bots with the same requirements.

    It has another name as soon as Python or a requirement is another.
    """

    name: str
    requirements: Path
    folder: Path

    @classmethod
    def of(cls, name: str, below: Path) -> Environment:
        """Return a bot's environment in a folder, made or not."""
        requirements = HERE / name / "requirements.txt"
        key = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode() + requirements.read_bytes()).hexdigest()[:12]
        package = re.split(r"[=\[\s]", requirements.read_text())[0]
        return cls(name, requirements, below / f"{package}-{key}")

    @property
    def is_made(self) -> bool:
        """Return whether it was installed to the end."""
        return self._mark.exists()

    @property
    def _mark(self) -> Path:
        return self.folder / "installed"

    def program(self, word: str) -> str:
        """Return the path of a program that the bot's packages have installed, or of its Python."""
        return str(self.folder / "bin" / word)

    def make(self) -> None:
        """Install the requirements with pip, unless that was done before. Raises NotInstalled."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder.with_suffix(".lock")):
            if self.is_made:
                return
            shutil.rmtree(self.folder, ignore_errors=True)  # of an installation that was cut off
            self._run(sys.executable, "-m", "venv", str(self.folder))
            self._run(self.program("python"), "-m", "pip", "install", "-q", "-r", str(self.requirements))
            self._mark.touch()

    def _run(self, *command: str) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"{self.name}: pip did not end within {INSTALL_S} s") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
            raise NotInstalled(f"{self.name}: its packages cannot be installed from PyPI: {lines[0]}")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that other processes respect, such as the workers of pytest-xdist."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
