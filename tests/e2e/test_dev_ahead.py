"""`dev` starts its reference bot beside the homeserver, and what that changes for a person: nothing but the time."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from greenroom.commands.dev import up
from greenroom.commands.dev.ahead import environment_ahead
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.options import DevOptions
from greenroom.homeserver.choose import choose
from greenroom.processes.procfs import pids_with_environment, started_at
from greenroom.processes.runs import HEAD
from greenroom.seed.load import load_blueprint
from greenroom.waiting import until
from tests.e2e.dev_project import Project

DEV = ("dev", "--backend", "process", "--detach")


def ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since the machine did."""
    return int(started_at(pid).rpartition("/")[2])


def started(project: Project) -> tuple[int, int]:
    """Return when the bot and the homeserver started."""
    state = project.state()
    return ticks(state["bot"]["pid"]), ticks(state["homeserver"]["pid"])


def test_only_from_its_second_start_the_bot_does_not_wait_for_the_homeserver(project):
    """The first one seeds before. Both print the same lines in the same order, and leave the same state."""
    first = project.run(*DEV)
    bot, homeserver = started(project)
    assert bot > homeserver
    before = project.state()
    project.run("down")

    second = project.run(*DEV)

    bot, homeserver = started(project)
    assert bot <= homeserver
    assert re.search(r"homeserver: synapse.*\nhomeserver: ready.*\nseed: qa is there.*\nbot: live, pid", second.stdout)
    lines = [re.sub(r"\d+", "N", each.stdout).splitlines() for each in (first, second)]
    assert lines[0][-8:] == lines[1][-8:]
    assert project.state()["people"] == before["people"]
    assert project.run("status").returncode == 0


def test_a_detached_environment_leaves_no_warm_parent(project, monkeypatch):
    """What runs afterwards is the homeserver and the bot, and they are seen under their own names."""
    monkeypatch.delenv(HEAD, raising=False)

    assert project.run(*DEV).returncode == 0

    state = project.state()
    running = pids_with_environment(f"GREENROOM_RUNS_DIR={project.folder / 'runs'}")
    assert set(running) == {state["bot"]["pid"], state["homeserver"]["pid"]}
    assert "-m\0synapse.app.homeserver" in Path(f"/proc/{state['homeserver']['pid']}/cmdline").read_text()


def test_a_homeserver_that_does_not_start_takes_the_bot_with_it(project):
    """The error is the homeserver's own, and nothing is left running."""
    project.run(*DEV)
    project.run("down")
    (project.folder / ".greenroom/homeserver/homeserver.db").write_bytes(b"no database" * 1000)

    again = project.run(*DEV)

    assert again.returncode == 1
    assert re.match(r"greenroom: homeserver \(synapse, process\) did not start: ended with exit code", again.stderr)
    assert "its data is damaged; to start over:" in again.stderr
    assert "bot" not in again.stdout
    assert project.marked() == []


def test_a_fresh_start_from_a_snapshot_starts_the_bot_ahead_too(project):
    """Its account follows from the secrets, which stay, and from the blueprint."""
    project.run(*DEV)
    before = project.state()["people"]
    project.run("down")

    again = project.run(*DEV, "--fresh")

    assert "seed: qa, restored from a snapshot" in again.stdout, again.stderr
    bot, homeserver = started(project)
    assert bot <= homeserver
    assert project.state()["people"] == before


async def test_a_wrong_guess_is_put_right(project, monkeypatch):
    """The bot then starts once more, with what is true."""
    project.run(*DEV)
    project.run("down")
    env_file = project.folder / ".greenroom/dev.env"
    true = env_file.read_text()

    def guess(*args: Any) -> dict[str, str] | None:
        return {**(environment_ahead(*args) or {}), "MATRIX_PASSWORD": "guessed"}

    monkeypatch.setattr(up, "environment_ahead", guess)
    options = DevOptions(choose("synapse", "process"), load_blueprint("qa"), "qa")
    dev = asyncio.create_task(up.dev(DevFolder(project.folder), options, Console()))
    await until((project.folder / ".greenroom/dev.json").exists, "dev", timeout_s=60)

    bot, homeserver = started(project)
    assert bot > homeserver
    assert env_file.read_text() == true
    assert [pid for pid in project.marked() if b"greenroom_bot" in Path(f"/proc/{pid}/cmdline").read_bytes()] == [
        project.state()["bot"]["pid"]
    ]
    dev.cancel()
    assert await dev == 0


def test_a_bot_that_cannot_start_is_reported_as_before(project):
    """A setting that the bot refuses ends `dev` with the bot's own reason, and with nothing left."""
    project.run(*DEV)
    project.run("down")

    again = project.run(*DEV, MATRIX_LOG_LEVEL="loud")

    assert again.returncode == 1
    assert "the bot did not start: ended with exit code 2" in again.stderr
    assert "MATRIX_LOG_LEVEL is not debug, info, warning or error: 'loud'" in again.stderr
    assert project.marked() == []
