"""`start`, `stop` and `restart` beside another command that owns the dev environment."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time

import pytest

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import control
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import new_run
from greenroom.errors import HarnessError
from tests.harness.dev_state import STATE

OWNER = """
import pathlib, sys
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import owning
with owning(DevFolder(pathlib.Path(sys.argv[1]))):
    print("owns it", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path) -> DevFolder:
    """A detached environment of which nothing runs."""
    folder = DevFolder(tmp_path)
    folder.prepare()
    folder.write_state(STATE, {})
    new_run(folder)
    return folder


@pytest.fixture
def owner(folder):
    """Another process that owns the environment until it reads a line, and answers no request."""
    command = [sys.executable, "-c", OWNER, str(folder.project)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "owns it\n"
        yield child
        child.kill()


def stopped_beside(folder: DevFolder, end_owner) -> str:
    """Stop the bot. End the owner once it was asked. Return what was printed, or the error."""
    out = io.StringIO()

    def stop() -> None:
        try:
            control(folder, "stop", "bot", Console(out))
        except HarnessError as error:
            out.write(str(error))

    thread = threading.Thread(target=stop)
    thread.start()
    deadline = time.monotonic() + 20
    while not list(folder.requests.glob("*.json")):
        assert time.monotonic() < deadline, out.getvalue()
        time.sleep(0.01)
    end_owner()
    thread.join(20)
    return out.getvalue()


def test_two_commands_on_a_detached_environment_take_turns(folder, owner):
    """The second one waits for the end of the first, then does its own work."""
    assert stopped_beside(folder, lambda: owner.communicate("\n")) == "bot: not running\n"

    assert json.loads(folder.state_file.read_text())["bot"]["log"] == "x"


def test_a_dev_that_ends_before_it_answers_is_named(folder, owner):
    """A `dev` takes dev.json with it, so there is nothing left to stop."""

    def end() -> None:
        folder.state_file.unlink()
        owner.communicate("\n")

    assert f"dev (pid {owner.pid}) ended before it answered" in stopped_beside(folder, end)
