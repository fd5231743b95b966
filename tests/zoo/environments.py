"""The environments of the zoo: one for each bot, made once from its pinned requirements and kept.

A bot on Python has a virtual environment, which pip fills from its `requirements.txt`. A bot in Rust has a folder,
which Cargo fills from its `crates.txt`. The programs of both are in `bin`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class NotInstalled(Exception):
    """A bot's packages cannot be installed. Its text is one line for a person."""


class NoInstaller(Exception):
    """This machine lacks the program that installs a bot. Its text is one line for a person."""


def names() -> list[str]:
    """Return the bots of the zoo: the folders that have requirements."""
    return sorted(file.parent.name for kind in KINDS for file in HERE.glob(f"*/{kind.file}"))


def home() -> Path:
    """Return the folder of the environments: GREENROOM_ZOO, or one that Git ignores in the checkout."""
    return Path(os.environ.get("GREENROOM_ZOO") or ROOT / ".greenroom" / "zoo").absolute()


def environment_of(name: str, below: Path) -> Environment:
    """Return a bot's environment in a folder, made or not. All bots with the same requirements share it.

    It has another name as soon as a requirement is another, or the Python that it is for.
    """
    kind = next(kind for kind in KINDS if (HERE / name / kind.file).exists())
    requirements = HERE / name / kind.file
    key = hashlib.sha256(kind.made_with().encode() + requirements.read_bytes()).hexdigest()[:12]
    package = re.split(r"[=\[@\s]", requirements.read_text())[0]
    return kind(name, requirements, below / f"{package}-{key}")


@dataclass(frozen=True)
class Environment(ABC):
    """The folder with the programs of one bot."""

    name: str
    requirements: Path
    folder: Path

    file: ClassVar[str]
    """The name of the requirements in a bot's folder."""
    source: ClassVar[str]
    error: ClassVar[str]
    """How the installer begins the line that says why it failed."""
    install_s: ClassVar[int]

    @classmethod
    @abstractmethod
    def made_with(cls) -> str:
        """Return what makes another environment necessary, apart from the requirements."""

    @abstractmethod
    def _install(self) -> None: ...

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
        """Install the requirements, unless that was done before. Raises NotInstalled, NoInstaller."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder.with_suffix(".lock")):
            if self.is_made:
                return
            shutil.rmtree(self.folder, ignore_errors=True)  # of an installation that was cut off
            self._install()
            self._mark.touch()

    def _run(self, *command: str, env: dict[str, str] | None = None) -> None:
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=self.install_s,
                check=False,
                env={**os.environ, **(env or {})},
            )
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"{self.name}: {Path(command[0]).name} did not end within {self.install_s} s") from None
        except FileNotFoundError:
            raise NoInstaller(f"{self.name} needs {command[0]}, which is not installed") from None
        if done.returncode:
            lines = done.stderr.splitlines()
            told = [line for line in lines if line.startswith(self.error)] or [done.stderr.strip()]
            raise NotInstalled(f"{self.name}: its packages cannot be installed from {self.source}: {told[0]}")


class PythonEnvironment(Environment):
    """A virtual environment with packages from PyPI."""

    file = "requirements.txt"
    source = "PyPI"
    error = "ERROR"
    install_s = 600

    @classmethod
    def made_with(cls) -> str:
        """Return this Python: the packages of another one are no use to it."""
        return f"{sys.version} {sys.base_prefix}"

    def _install(self) -> None:
        self._run(sys.executable, "-m", "venv", str(self.folder))
        self._run(self.program("python"), "-m", "pip", "install", "-q", "-r", str(self.requirements))


class CargoEnvironment(Environment):
    """A folder with programs that Cargo builds from crates.io, with the versions of their own Cargo.lock."""

    file = "crates.txt"
    source = "crates.io"
    error = "error"
    install_s = 900

    @classmethod
    def made_with(cls) -> str:
        """Return nothing: a program that was built once needs no Cargo."""
        return ""

    def _install(self) -> None:
        crates = self.requirements.read_text().split()
        self._run("cargo", "install", "-q", "--locked", "--debug", "--root", str(self.folder), *crates, env=QUICK_BUILD)


QUICK_BUILD = {"CARGO_PROFILE_DEV_DEBUG": "0"}  # no debugger will look at it
KINDS: tuple[type[Environment], ...] = (PythonEnvironment, CargoEnvironment)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that other processes respect, such as the workers of pytest-xdist."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
