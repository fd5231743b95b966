"""`dev` starts its reference bot beside the homeserver, and what that changes for a person: nothing but the time."""

from __future__ import annotations

import re

from greenroom.processes.procfs import started_at
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


def test_a_wrong_guess_is_put_right(project):
    """dev.env may have been edited: the bot then starts once more, with what is true."""
    project.run(*DEV)
    project.run("down")
    env_file = project.folder / ".greenroom/dev.env"
    true = env_file.read_text()
    env_file.write_text(re.sub("MATRIX_PASSWORD=.*", "MATRIX_PASSWORD=guessed", true))

    again = project.run(*DEV)

    assert again.returncode == 0, again.stderr
    bot, homeserver = started(project)
    assert bot > homeserver
    assert env_file.read_text() == true
    assert len(project.marked()) == 2


def test_a_bot_that_cannot_start_is_reported_as_before(project):
    """A setting that the bot refuses ends `dev` with the bot's own reason, and with nothing left."""
    project.run(*DEV)
    project.run("down")

    again = project.run(*DEV, MATRIX_LOG_LEVEL="loud")

    assert again.returncode == 1
    assert "the bot did not start: ended with exit code 2" in again.stderr
    assert "MATRIX_LOG_LEVEL is not debug, info, warning or error: 'loud'" in again.stderr
    assert project.marked() == []
