"""`dev` and test runs on containers as a person uses them: what is killed is swept, and nothing but the image stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.homeserver.container.labels import FOLDER, containers_of
from greenroom.processes.runs import HEAD, MARKER
from tests.e2e.container_engine import nothing_stays, require_engine
from tests.e2e.least_bots import LIVE_BOT

pytestmark = pytest.mark.container
START_S = 120
HANGING_TEST = """
import time

def test_hang(homeserver):
    open("up", "w").close()
    time.sleep(60)
"""


class Project:
    """A folder in which somebody develops a bot."""

    def __init__(self, folder: Path, engine) -> None:
        self.folder = folder
        self._engine = engine

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a task to its end."""
        return subprocess.run(
            [sys.executable, "-m", "greenroom", *args],
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )

    def start(self, *command: str, marker: str) -> subprocess.Popen[str]:
        """Start something that stays, and wait until `marker` is there: a file, or a text in its output."""
        with (self.folder / "output.txt").open("w") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        deadline = time.monotonic() + START_S
        while not ((self.folder / marker).exists() or marker in self.output()):
            assert child.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)
        return child

    def dev(self) -> subprocess.Popen[str]:
        """Start `dev` in the foreground and wait until it says that it runs."""
        command = ("greenroom", "dev", "--backend", "container", "--bot", "python my_bot.py")
        return self.start(*command, marker="Ctrl-C stops everything")

    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def state(self) -> dict:
        return json.loads((self.folder / ".greenroom/dev.json").read_text())

    def containers(self) -> list:
        """The containers of this project."""
        return [
            each for each in containers_of(self._engine) if each.labels[FOLDER].startswith(f"{self.folder.resolve()}/")
        ]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Iterator[Project]:
    """A fresh project with a bot; its containers are removed with the test, whatever happened."""
    engine, _ = require_engine()
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv(MARKER, raising=False)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "my_bot.py").write_text(LIVE_BOT)
    project = Project(tmp_path, engine)
    try:
        with nothing_stays(engine, tmp_path.resolve()):
            yield project
    finally:
        for container in project.containers():
            container.remove(force=True, v=True)
        engine.close()


def test_ctrl_c_leaves_no_container_and_brings_the_data_back(project):
    """One Ctrl-C: the container is gone, its database is in .greenroom/, and the next dev goes on with it."""
    dev = project.dev()
    assert len(project.containers()) == 1

    dev.send_signal(signal.SIGINT)
    dev.wait(30)

    assert project.containers() == []
    assert (project.folder / ".greenroom/homeserver/homeserver.db").exists()
    assert "Synapse now listening" in (project.folder / ".greenroom/logs/homeserver.log").read_text()

    again = project.dev()
    assert "seed: qa is there already" in project.output()
    again.send_signal(signal.SIGINT)
    again.wait(30)


def test_a_killed_devs_container_and_data_are_found_by_the_next(project):
    """SIGKILL: the container lives on for a while; the next `dev` takes its data over and removes it."""
    killed = project.dev()
    (container,) = project.containers()
    killed.kill()
    killed.wait()
    assert [each.id for each in project.containers()] == [container.id]

    again = project.dev()

    assert "seed: qa is there already" in project.output()
    (fresh,) = project.containers()
    assert fresh.id != container.id
    again.send_signal(signal.SIGINT)
    again.wait(30)
    assert project.containers() == []


def test_a_detached_container_runs_on_with_its_log_and_down_brings_it_back(project):
    """Another run's sweep leaves it alone; `down` removes it and keeps its data."""
    detached = project.run("dev", "--backend", "container", "--detach", "--bot", "python my_bot.py")
    assert detached.returncode == 0, detached.stderr
    (container,) = project.containers()
    assert project.state()["homeserver"]["container"] == container.id[:12]
    log = Path(project.state()["homeserver"]["log"])
    deadline = time.monotonic() + 20
    while "Synapse now listening" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (project.folder / "test_ok.py").write_text("def test_ok(greenroom): pass\n")
    other = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--greenroom-backend", "container", "-p", "no:cacheprovider"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert other.returncode == 0, other.stdout
    assert len(project.containers()) == 1

    down = project.run("down")

    assert down.returncode == 0, down.stderr
    assert f"stopped container {container.short_id}" in down.stdout
    assert project.containers() == []
    assert (project.folder / ".greenroom/homeserver/homeserver.db").exists()


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "foreground"])
def test_a_container_stops_and_starts_with_its_data_at_the_same_url(project, detach):
    """`stop homeserver` brings the data back, `start homeserver` takes it into a new container; dev.json is right."""
    dev = (
        project.run("dev", "--backend", "container", "--detach", "--bot", "python my_bot.py")
        if detach
        else project.dev()
    )
    url = project.state()["homeserver"]["url"]

    stopped = project.run("stop", "homeserver")

    assert stopped.stdout == "homeserver: stopped\n", stopped.stderr
    assert project.containers() == []
    assert project.state()["homeserver"]["container"] is None
    assert (project.folder / ".greenroom/homeserver/homeserver.db").exists()
    assert project.run("status").returncode == 3
    started = project.run("start")
    assert started.returncode == 0, started.stderr
    (container,) = project.containers()
    assert project.state()["homeserver"]["container"] == container.id[:12]
    assert project.state()["homeserver"]["url"] == url
    assert project.run("seed").stdout == "nothing to do: everything is there\n"
    project.run("down")
    assert detach or dev.wait(30) == 0
    assert project.containers() == []


def test_a_killed_container_starts_again_with_its_data(project):
    """`start` rescues the data of a container that has ended."""
    project.run("dev", "--backend", "container", "--detach", "--bot", "python my_bot.py")
    (container,) = project.containers()
    container.kill()

    assert project.run("status").returncode == 3
    started = project.run("start")

    assert started.returncode == 0, started.stderr
    (fresh,) = project.containers()
    assert fresh.id != container.id
    assert project.run("seed").stdout == "nothing to do: everything is there\n"
    project.run("down")


def test_a_killed_test_runs_container_is_swept_by_the_next(project, monkeypatch):
    """SIGKILL of pytest leaves its container until the next run begins, and not longer."""
    monkeypatch.delenv(HEAD, raising=False)
    (project.folder / "test_hang.py").write_text(HANGING_TEST)
    arguments = ("pytest", "-q", "--greenroom-backend", "container", "-p", "no:cacheprovider")
    killed = project.start(*arguments, marker="up")
    assert len(project.containers()) == 1
    killed.kill()  # from now on any run may sweep it, another worker's too
    killed.wait()

    (project.folder / "test_hang.py").write_text("def test_ok(greenroom): pass\n")
    again = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project.folder, capture_output=True, text=True, check=False
    )

    assert again.returncode == 0, again.stdout
    assert project.containers() == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"DOCKER_HOST": "unix:///nonexistent/docker.sock"},
            "greenroom: a container engine is not available: unix:///nonexistent/docker.sock: "
            "No such file or directory. Try: start Docker",
        ),
        (
            {"GREENROOM_SYNAPSE_IMAGE": "127.0.0.1:1/none:1"},
            "greenroom: synapse in a container is not available: the engine has no image 127.0.0.1:1/none:1",
        ),
    ],
    ids=["engine stopped", "image missing"],
)
def test_dev_says_in_one_line_what_is_missing(project, environment, said):
    """Exit code 2, no traceback, nothing made."""
    answer = project.run("dev", "--backend", "container", "--bot", "python my_bot.py", **environment)

    assert answer.returncode == 2
    assert answer.stderr.startswith(said)
    assert len(answer.stderr.splitlines()) == 1
    assert not (project.folder / ".greenroom").exists()


def test_auto_takes_the_process_where_there_is_no_engine_and_says_so(project):
    """One line with the reason."""
    detached = project.run(
        "dev", "--detach", "--bot", "python my_bot.py", DOCKER_HOST="unix:///nonexistent/docker.sock"
    )
    down = project.run("down")

    why = "no container: unix:///nonexistent/docker.sock: No such file or directory"
    assert f"homeserver: synapse on backend process ({why})" in detached.stdout.splitlines()
    assert down.returncode == 0
