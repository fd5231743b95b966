"""The warm parent: many homeservers, each whole and alone, and nothing left of any of them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from greenroom.errors import Died, StartFailed, Unavailable
from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.homeserver.choose import make_homeserver
from greenroom.homeserver.container.labels import ContainerEngines
from greenroom.homeserver.synapse_process import SynapseProcess
from greenroom.homeserver.warm.client import end_idle_parent
from greenroom.people.accounts import register
from greenroom.processes.ports import OF_THIS_RUN, holder
from greenroom.processes.procfs import pids_with_environment, started_at
from greenroom.processes.runs import HEAD, MARKER, own_head, sweep
from greenroom.session import Session
from greenroom.waiting import NotYet, until
from tests.e2e.sharing import knows, wait_for

PARENT = "warm/parent.py"
AT_ONCE = 8

# A program with one homeserver, which says who is who and then waits.
PROGRAM = """
import asyncio, sys
from greenroom.homeserver import HomeserverSettings
from greenroom.session import Session

async def main():
    session = Session.begin(backend="process")
    async with session.homeserver(HomeserverSettings()) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""

# A program that is killed when it has forked a homeserver and not noted it yet.
KILLED_BEFORE_IT_NOTES = """
import asyncio, os, signal, sys
from pathlib import Path
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.choose import make_homeserver
from greenroom.session import Session

def started(name, identity):
    print(identity.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

session = Session.begin(backend="process")
session.run.started = started
kept = {"run": session.run, "dies_with_parent": False}
asyncio.run(make_homeserver(session.choice, Path(sys.argv[1]), HomeserverSettings(), **kept).start())
"""

SCENE = """
import os, re, time
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(2))
def test_scene(number, homeserver):
    status = Path(f"/proc/{homeserver.handle['pid']}/status").read_text()
    Path(f"parent-{os.environ['PYTEST_XDIST_WORKER']}").write_text(re.findall(r"PPid:\\s+(\\d+)", status)[0])
    while len(list(Path().glob("parent-*"))) < 2:
        time.sleep(0.05)
"""


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """A folder of our own for runs: nobody else shares a warm parent with this test."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv(HEAD, raising=False)
    return tmp_path / "runs"


@pytest.fixture
def session(runs) -> Iterator[Session]:
    """A run of processes. After it nothing may be left."""
    check_installed()
    session = Session.begin(backend="process")
    yield session
    session.close()
    assert list(runs.iterdir()) == []
    assert living(runs) == {}


def check_installed() -> None:
    try:
        SynapseProcess.check_installed()
    except Unavailable as lacking:
        pytest.skip(str(lacking))


def living(runs: Path) -> dict[int, str]:
    """Return the command lines of what was started with this folder for runs, by pid: the parent and its forks."""
    pids = [pid for pid in pids_with_environment(f"GREENROOM_RUNS_DIR={runs}") if started_at(pid)]
    return {pid: command_line(pid) for pid in pids}


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def status(pid: int, name: str) -> int:
    """Return a number of /proc/PID/status: PPid, or VmRSS in KiB."""
    return int(re.findall(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


def parent_of(server: RunningHomeserver) -> int:
    return status(server.handle["pid"], "PPid")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def test_many_starts_in_a_row_are_healthy_and_leave_the_parent_as_it_was(session, pytestconfig):
    """Each homeserver makes an account. The parent's memory and open files do not grow."""
    sizes = []
    for _ in range(pytestconfig.getoption("--warm-starts")):
        async with session.homeserver(HomeserverSettings()) as server:
            assert server.slow_because == ""
            await register(server, "alice")
            parent = parent_of(server)
            sizes.append((status(parent, "VmRSS"), open_files(parent)))

    memory, files = zip(*sizes[1:], strict=True)
    assert set(files) == {files[0]}
    assert max(memory) <= memory[0] * 1.02 + 256


async def test_a_homeserver_is_found_by_the_mark_of_its_run(session):
    """The kernel shows what a fork has in its environment, and not what its parent had: a port's holder is known."""
    async with session.homeserver(HomeserverSettings()) as server:
        marked = set(pids_with_environment(f"{MARKER}={session.run.run_id}"))

        assert marked == {server.handle["pid"]}
        assert holder(int(server.url.rpartition(":")[2]), session.run.run_id).startswith(OF_THIS_RUN)


async def test_homeservers_at_once_know_nothing_of_each_other(session):
    """Eight from one parent: an account made on one cannot log in on another, and its token is nothing there."""
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(session.homeserver(HomeserverSettings())) for _ in range(AT_ONCE))
        servers = await asyncio.gather(*starting)
        accounts = [await register(server, f"only{number}") for number, server in enumerate(servers)]

        assert len({parent_of(server) for server in servers}) == 1
        assert len({server.url for server in servers}) == AT_ONCE
        for account in accounts:
            assert [await knows(server, account) for server in servers].count(True) == 1


async def test_a_killed_homeserver_is_reported_and_starts_again_with_its_data(session):
    """Its death is told over its connection; the next start is a fork too, at the same URL."""
    async with session.homeserver(HomeserverSettings()) as server:
        alice, url = await register(server, "alice"), server.url
        os.kill(server.handle["pid"], signal.SIGKILL)

        with pytest.raises(Died, match="SIGKILL"):
            await until(lambda: server.check_alive() or NotYet("it lives"), "the death", timeout_s=5)
        await server.start_again()

        assert server.url == url
        assert server.slow_because == ""
        assert await knows(server, alice)


async def test_the_end_of_the_parent_is_the_end_of_its_homeservers_and_the_next_start_has_another(session):
    """A homeserver whose parent was killed is dead, and said to be; nothing waits for the old parent."""
    async with session.homeserver(HomeserverSettings()) as server, session.homeserver(HomeserverSettings()) as other:
        parent = parent_of(server)
        os.kill(parent, signal.SIGKILL)
        for dying in (server, other):
            with pytest.raises(Died, match="SIGKILL"):
                await until(lambda one=dying: one.check_alive() or NotYet("it lives"), "the death", timeout_s=5)
            assert started_at(dying.handle["pid"]) is None
        await server.start_again()

        assert server.slow_because == ""
        assert parent_of(server) != parent


@pytest.mark.parametrize("whom", ["the program", "its parent too"])
def test_a_killed_program_leaves_no_process_and_its_folders_are_swept(runs, whom):
    """SIGKILL leaves a program no time to tidy up: the parent sees it die, and the kernel ends what the parent has."""
    check_installed()
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        homeserver = int(running.stdout.readline())
        assert any(PARENT in words for words in living(runs).values())
        if whom == "its parent too":
            os.kill(status(homeserver, "PPid"), signal.SIGKILL)
        running.kill()

    wait_for(lambda: not living(runs), 5, "every process to be gone")
    sweep(ContainerEngines())
    assert list(runs.iterdir()) == []


@pytest.mark.parametrize("manners", [(), ("told-twice",)], ids=["", "behind manners"])
async def test_without_the_parent_the_start_is_plain_and_the_report_says_why(session, monkeypatch, manners):
    """GREENROOM_WARM=0 asks for it."""
    monkeypatch.setenv("GREENROOM_WARM", "0")

    async with session.homeserver(HomeserverSettings(manners=manners)) as server:
        assert parent_of(server) == os.getpid()

    assert "plainly, not by a warm parent: GREENROOM_WARM=0" in "\n".join(session.report())


async def test_a_homeserver_that_outlives_its_command_is_a_fork_and_needs_no_parent(session, tmp_path):
    """The parent ends as if it had none, and /proc shows the homeserver's own command."""
    folder = tmp_path / "server"
    homeserver = make_homeserver(session.choice, folder, HomeserverSettings(), run=session.run, dies_with_parent=False)
    server = await homeserver.start()
    try:
        parent = parent_of(server)
        assert PARENT in command_line(parent)
        assert server.slow_because == ""

        end_idle_parent(own_head())

        await until(lambda: started_at(parent) is None, "the end of the parent", timeout_s=5)
        assert command_line(server.handle["pid"]).startswith(
            f"{sys.executable} -m synapse.app.homeserver --config-path"
        )
        await register(server, "alice")
        await server.kill()
        await server.start_again()
        await server.stop()
        assert started_at(server.handle["pid"]) is None
    finally:
        await server.close()


def test_a_homeserver_that_outlives_its_command_does_not_begin_before_it_is_noted(runs, tmp_path):
    """If the command is killed first, nobody would find the homeserver; so it ends."""
    check_installed()
    command = [sys.executable, "-c", KILLED_BEFORE_IT_NOTES, str(tmp_path / "server")]

    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)

    assert killed.returncode == -signal.SIGKILL
    pid = int(killed.stdout)
    try:
        wait_for(lambda: started_at(pid) is None, 5, "its end")
        assert (tmp_path / "server/homeserver.log").read_text() == ""
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        sweep(ContainerEngines())


async def test_the_end_of_one_homeserver_is_not_the_end_of_another(session):
    """A failed start, a stop and a kill: each is between the parent and one connection."""
    async with session.homeserver(HomeserverSettings()) as server:
        with pytest.raises(StartFailed, match="Error in configuration"):
            async with session.homeserver(HomeserverSettings(extra={"database": {"name": "no such engine"}})):
                pass
        async with session.homeserver(HomeserverSettings()) as other:
            await other.stop()
            await other.start_again()
            await other.kill()

        server.check_alive()
        assert len(living_forks(server)) == 1


def living_forks(server: RunningHomeserver) -> list[int]:
    children = Path(f"/proc/{parent_of(server)}/task/{parent_of(server)}/children").read_text()
    return [int(pid) for pid in children.split()]


def test_two_workers_share_one_parent(runs, session, tmp_path):
    """`pytest -n 2` imports Synapse once. Afterwards nothing is left."""
    (tmp_path / "test_scene.py").write_text(SCENE)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "--greenroom-backend", "process"]

    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)

    assert "2 passed" in answer.stdout, answer.stdout
    parents = {file.read_text() for file in tmp_path.glob("parent-*")}
    homeservers = {file.name for file in tmp_path.glob("parent-*")}
    assert len(homeservers) == 2
    assert len(parents) == 1
    assert not living(runs)


async def test_what_a_killed_parent_has_left_goes_with_its_run(session):
    """Nobody started another one, so its folder is still there when the run ends."""
    async with session.homeserver(HomeserverSettings()) as server:
        os.kill(parent_of(server), signal.SIGKILL)


async def test_a_damaged_template_is_made_anew(session, tmp_path, monkeypatch):
    """Its name has its hash: one that was altered is never used."""
    monkeypatch.setenv("GREENROOM_CACHE_DIR", str(tmp_path / "cache"))
    async with session.homeserver(HomeserverSettings()):
        (made,) = (tmp_path / "cache" / "templates").glob("*.db")
    whole = made.read_bytes()
    made.write_bytes(whole[:-1] + b"?")

    async with session.homeserver(HomeserverSettings()) as server:
        await register(server, "alice")

    (again,) = (tmp_path / "cache" / "templates").glob("*.db")
    assert hashlib.sha256(again.read_bytes()).hexdigest().startswith(again.stem.rpartition("-")[2])
