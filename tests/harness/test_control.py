"""`start`, `stop` and `restart` beside another command that owns the dev environment."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import control
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import new_run, owning
from greenroom.errors import AlreadyRunning, HarnessError
from tests.harness.dev_state import STATE

OWNER = """
import pathlib, sys
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import owning
with owning(DevFolder(pathlib.Path(sys.argv[1])), answers=sys.argv[2] == "dev"):
    print("owns it", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path) -> DevFolder:
    """A detached environment of which nothing runs."""
    folder = DevFolder(tmp_path)
    folder.prepare()
    folder.write_state(STATE, {"MATRIX_USER_ID": "x"})
    new_run(folder)
    return folder


@contextmanager
def owner(folder: DevFolder, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process that owns the environment until it reads a line: a `dev`, or a command like this one."""
    command = [sys.executable, "-c", OWNER, str(folder.project), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "owns it\n"
        yield child
        child.kill()


def stopped_beside(folder: DevFolder, has_met_owner, end_owner) -> str:
    """Stop the bot. End the owner once the command has met it. Return what was printed, or the error."""
    out = io.StringIO()

    def stop() -> None:
        try:
            control(folder, "stop", "bot", Console(out))
        except HarnessError as error:
            out.write(str(error))

    thread = threading.Thread(target=stop)
    thread.start()
    deadline = time.monotonic() + 20
    while not has_met_owner():
        assert time.monotonic() < deadline, out.getvalue()
        time.sleep(0.01)
    end_owner()
    thread.join(20)
    return out.getvalue()


def test_two_commands_on_a_detached_environment_take_turns(folder, monkeypatch):
    """The second one waits for the end of the first, then does its own work."""
    refused = []

    @contextmanager
    def noting(folder):
        try:
            with owning(folder):
                yield
        except AlreadyRunning:
            refused.append(1)
            raise

    monkeypatch.setattr("greenroom.commands.dev.control.owning", noting)
    with owner(folder, "start") as other:
        said = stopped_beside(folder, lambda: refused, lambda: other.communicate("\n"))

    assert said == "bot: not running\n"
    assert json.loads(folder.state_file.read_text())["bot"]["log"] == "x"


def test_a_dev_that_ends_before_it_answers_is_named(folder):
    """A `dev` takes dev.json with it, so there is nothing left to stop."""
    with owner(folder, "dev") as other:
        said = stopped_beside(folder, lambda: list(folder.requests.glob("*.json")), lambda: other.communicate("\n"))

    assert f"dev (pid {other.pid}) ended before it answered" in said
