"""Record what the README shows: `python -m docs.record`. It takes about a minute. A test fails if a run differs.

It runs `dev` in a terminal, lets a person talk to the bot, and draws the screen: docs/recording.svg. Then it runs the
commands of docs/samples.py in the same project folder and writes their output into the README. No container engine is
used, so the result is the same on every machine.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from docs.normal import Normaliser
from docs.picture import drawn
from docs.samples import ECHO_BOT, ECHO_TEST, PICTURE_OF, ROOM, SAID, SAMPLES, shown, with_samples
from docs.terminal import Screen
from greenroom.people.matrix_api import MatrixApi, path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "recording.svg"
COLUMNS, ROWS = 100, 32
WAIT_S = 60 * float(os.environ.get("GREENROOM_TIMEOUT_FACTOR", "1"))
COMMAND_S = 3 * WAIT_S
# An engine that is not there. dev then does what it does on a machine without one, and says it in these words.
NO_ENGINE = "unix:///none"
NO_ENGINE_SAYS = (f"{NO_ENGINE}: No such file or directory", "there is no /var/run/docker.sock")
# rich fills the lines of a table up to its width. A pid of another length would then wrap them.
FILLED_UP = re.compile(r" +(?=(?:\x1b\[[\d;]*m)*\r?$)", re.MULTILINE)
SHOWN_FOLDER = "/src/greenroom"  # as long as a real one, so that lines are wrapped where they were


@dataclass(frozen=True)
class Recorded:
    """A run, made equal to every other run."""

    picture: str
    samples: dict[str, str]


class Project:
    """A project folder with the tasks of this checkout, set up already, and the guide's echo bot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pyproject.toml").touch()
        for file in ("tasks.py", ECHO_BOT, ECHO_TEST):
            shutil.copy(ROOT / file, folder)
        unwanted = ("MATRIX_", "GREENROOM_", "PYTEST_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(unwanted)},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GREENROOM_RUNS_DIR": str(folder / ".runs"),
            "GREENROOM_CACHE_DIR": str(folder / ".cache"),  # as on a machine that has seeded nothing yet
            "GREENROOM_TIMEOUT_FACTOR": os.environ.get("GREENROOM_TIMEOUT_FACTOR", "1"),
            "DOCKER_HOST": NO_ENGINE,
            "PYTHONWARNINGS": "ignore",
            "TERM": "xterm-256color",
        }

    def people(self) -> dict[str, str]:
        """Return the password of each localpart."""
        state = json.loads((self.folder / ".greenroom/dev.json").read_text())
        return {person["user_id"][1:].partition(":")[0]: person["password"] for person in state["people"]}

    def run(self, line: str) -> str:
        """Run a command line to its end and return what it printed, whatever its exit code."""
        done = subprocess.run(
            ["sh", "-c", real_command(line)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return done.stdout


def real_command(line: str) -> str:
    """Return a command line for this Python. Once it has set itself up, `python3 tasks.py` becomes invoke."""
    python = shlex.quote(sys.executable)
    return line.replace("python3 tasks.py", f"{python} -m invoke").replace("pytest ", f"{python} -m pytest ", 1)


class Terminal:
    """A command in a terminal of its own, with all that it writes."""

    def __init__(self, project: Project, line: str) -> None:
        self._written = bytearray()
        self._leader, self._follower = pty.openpty()
        fcntl.ioctl(self._follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        # A new session takes the first terminal that it opens as its own. Only then is Ctrl-C a signal.
        take_terminal = f'exec {real_command(line)} < "$0" > "$0" 2>&1'
        self._child = subprocess.Popen(
            ["sh", "-c", take_terminal, os.ttyname(self._follower)],
            cwd=project.folder,
            env=project.environment,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._leader, 65536)
            except OSError:  # nobody has the other end any more
                return
            self._written += chunk

    def text(self) -> str:
        """Return everything written so far."""
        return self._written.decode(errors="replace")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises TimeoutError with the screen if it is not met or the command ends."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline or self._child.poll() is not None:
                raise TimeoutError(f"{what}: not seen; the terminal had:\n{self.text()}")
            time.sleep(0.05)

    def ctrl_c(self) -> None:
        """Press Ctrl-C and wait for the end."""
        os.write(self._leader, b"\x03")
        self._child.wait(WAIT_S)

    def close(self) -> None:
        """End the command if it still runs, and read the rest of its output."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            self._child.wait(WAIT_S)
        os.close(self._follower)
        self._reader.join(WAIT_S)
        os.close(self._leader)


@contextmanager
def new_project() -> Iterator[Project]:
    """Make a project in a folder whose path always has one length. Stop and remove everything afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="g", dir="/tmp"))
    try:
        project = Project(folder)
        try:
            yield project
        finally:
            project.run("python3 tasks.py down")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def first_run(project: Project) -> tuple[str, dict[str, str]]:
    """Start `dev` in a terminal, say something to the bot, press Ctrl-C. Return the output and the passwords."""
    terminal = Terminal(project, PICTURE_OF)
    try:
        terminal.until((project.folder / ".greenroom/dev.json").exists, "dev.json")
        people = project.people()
        for number, text in enumerate(SAID, start=1):
            asyncio.run(say(project, people["alice"], text))
            terminal.until(lambda n=number: answered(terminal.text()) >= n, text)  # type: ignore[misc]
        terminal.ctrl_c()
    finally:
        terminal.close()
    return terminal.text(), people


def answered(output: str) -> int:
    """Return how many answers of the bot dev has shown. Each stands below the message of alice that it answers."""
    return output.count("  -> ")


async def say(project: Project, password: str, text: str) -> None:
    """Send a message as alice into the room of that name."""
    state = json.loads((project.folder / ".greenroom/dev.json").read_text())
    async with MatrixApi(state["homeserver"]["url"]) as api:
        token = await api.log_in("alice", password, "PHONE")
        for room in (await api.call("GET", path("joined_rooms"), token=token))["joined_rooms"]:
            events = await api.call("GET", path("rooms", room, "state"), token=token)
            if any(event["type"] == "m.room.name" and event["content"].get("name") == ROOM for event in events):
                body = {"msgtype": "m.text", "body": text}
                sent = path("rooms", room, "send", "m.room.message", str(time.time_ns()))
                await api.call("PUT", sent, json=body, token=token)
                return
    raise LookupError(f"alice has no room {ROOM!r}")


def record() -> Recorded:
    """Run everything once."""
    with new_project() as project:
        output, people = first_run(project)
        normal = Normaliser(str(project.folder), SHOWN_FOLDER, people)
        screen = Screen(COLUMNS)
        output = FILLED_UP.sub("", output.replace(*NO_ENGINE_SAYS))
        screen.write(f"$ {PICTURE_OF}\r\n" + normal(output))
        samples = {
            name: "\n".join(shown(command, normal(project.run(command.line))) for command in commands)
            for name, commands in SAMPLES.items()
        }
    return Recorded(drawn(screen.lines(), COLUMNS), samples)


if __name__ == "__main__":
    recorded = record()
    PICTURE.write_text(recorded.picture)
    README.write_text(with_samples(README.read_text(), recorded.samples))
