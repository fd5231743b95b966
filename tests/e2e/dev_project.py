"""A project folder with a bot of its own, and `dev` run in it as a person would."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenroom.processes.procfs import pids_with_environment, started_at
from greenroom.processes.runs import MARKER
from tests.e2e.least_bots import LIVE_BOT

START_S = 60
OWN_BOT = "python my_bot.py"


@dataclass
class Project:
    """A project folder with a bot in it."""

    folder: Path

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "greenroom", *args]

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a task to its end."""
        return subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )

    def launched(self, *args: str, bot: str = OWN_BOT) -> subprocess.Popen[str]:
        """Start `dev` in the foreground without waiting for it. An empty `bot` is the reference bot."""
        chosen = ("--bot", bot) if bot else ()
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(
                self.command("dev", "--backend", "process", *chosen, *args),
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def dev(self, *args: str, bot: str = OWN_BOT) -> subprocess.Popen[str]:
        """Start `dev` in the foreground and wait until everything runs."""
        child = self.launched(*args, bot=bot)
        self.until(lambda: "Ctrl-C stops everything" in self.output() or child.poll() is not None)
        assert child.poll() is None, self.output()
        return child

    def detached(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("dev", "--backend", "process", "--detach", "--bot", OWN_BOT, *args)

    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def state(self) -> dict:
        return json.loads((self.folder / ".greenroom/dev.json").read_text())

    def password(self, name: str) -> str:
        """Return a person's password from `dev.json`."""
        people = {person["user_id"]: person["password"] for person in self.state()["people"]}
        return people[f"@{name}:greenroom.test"]

    def pids(self) -> list[int]:
        """Return the processes in the manifest of the project's dev environment."""
        manifest = json.loads((self.folder / ".greenroom/run.json").read_text())
        return [process["pid"] for process in manifest["processes"]]

    def marked(self) -> list[int]:
        return [pid for pid in pids_with_environment(f"PROJECT_OF_TEST={self.folder}") if started_at(pid)]

    def until(self, condition, timeout_s: float = START_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s; output:\n{self.output()}"
            time.sleep(0.05)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Iterator[Project]:
    """A fresh project with a bot. Its processes carry a mark in their environment and are killed after the test."""
    monkeypatch.setenv("PROJECT_OF_TEST", str(tmp_path))
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv(MARKER, raising=False)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "my_bot.py").write_text(LIVE_BOT)
    project = Project(tmp_path)
    yield project
    for pid in project.marked():
        os.kill(pid, signal.SIGKILL)


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0
