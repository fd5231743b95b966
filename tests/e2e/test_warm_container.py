"""Many homeservers in one container, forked by a warm parent: each whole and alone, and nothing left of any of them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from greenroom.errors import Died, StartFailed
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.container import warm
from greenroom.homeserver.container.engine import Engine
from greenroom.homeserver.container.labels import FOLDER, ContainerEngines, containers_of
from greenroom.people.accounts import register
from greenroom.processes.runs import HEAD, sweep
from greenroom.session import Session
from greenroom.waiting import NotYet, until
from tests.e2e.container_engine import require_engine
from tests.e2e.sharing import knows, wait_for

pytestmark = pytest.mark.container
GONE_S = 20  # the parent waits 5 s, and the engine takes a while to remove a container with ports

# A program with one homeserver, which then waits.
PROGRAM = """
import asyncio
from greenroom.homeserver import HomeserverSettings
from greenroom.session import Session

async def main():
    session = Session.begin(backend="container")
    async with session.homeserver(HomeserverSettings()) as server:
        print(server.slow_because or server.container_id, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""

SCENE = """
import os, time
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(2))
def test_scene(number, homeserver):
    Path(f"container-{os.environ['PYTEST_XDIST_WORKER']}").write_text(homeserver.handle["container"])
    while len(list(Path().glob("container-*"))) < 2:
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine that has a Synapse image."""
    engine, _ = require_engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
async def session(engine, tmp_path_factory) -> AsyncIterator[Session]:
    """A run of containers, which nobody outside this file shares. After it nothing may be left."""
    async with session_below(engine, tmp_path_factory.mktemp("shared") / "runs") as session:
        yield session


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """A folder for the runs of one test: nobody else shares a warm container with it."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv(HEAD, raising=False)
    return tmp_path / "runs"


@pytest.fixture
async def own_session(engine, runs) -> AsyncIterator[Session]:
    """A run of one test."""
    async with session_below(engine, runs) as session:
        yield session


@asynccontextmanager
async def session_below(engine: Engine, runs: Path) -> AsyncIterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENROOM_RUNS_DIR", str(runs))
        patch.delenv(HEAD, raising=False)
        session = Session.begin(backend="container")
        yield session
        patch.setenv("GREENROOM_RUNS_DIR", str(runs))  # the test's own patch is undone by now
        session.close()
    assert list(runs.iterdir()) == []
    await until(lambda: of(engine, runs) == [], "the containers to go", timeout_s=GONE_S)


def of(engine: Engine, runs: Path) -> list[str]:
    """Return the ids of the containers that were made with this folder for runs."""
    found = [each for each in containers_of(engine) if Path(each.labels[FOLDER]).is_relative_to(runs)]
    return [each.id for each in found]


async def test_many_starts_in_a_row_are_healthy_and_in_one_container(session, engine):
    """Each homeserver makes an account; what each leaves in the container goes with it."""
    containers = set()
    for _ in range(8):
        async with session.homeserver(HomeserverSettings()) as server:
            assert server.slow_because == ""
            await register(server, "alice")
            containers.add(server.handle["container"])

    (container_id,) = containers
    left = inside(engine, container_id, "ls", "/greenroom").split()
    assert [name for name in left if name.startswith("homeserver-")] == []
    assert inside(engine, container_id, "sh", "-c", "cat /proc/[0-9]*/comm").split().count("python") == 1


async def test_homeservers_at_once_know_nothing_of_each_other(session):
    """More than the first container has ports for: a second one is started, and every start is warm."""
    count = warm.POOLS[0] + 2
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(session.homeserver(HomeserverSettings())) for _ in range(count))
        servers = await asyncio.gather(*starting)
        accounts = [await register(server, f"only{number}") for number, server in enumerate(servers)]

        assert {server.slow_because for server in servers} == {""}
        assert len({server.url for server in servers}) == count
        assert len({server.handle["container"] for server in servers}) == 2
        for account in accounts:
            assert [await knows(server, account) for server in servers].count(True) == 1


async def test_where_all_ports_are_taken_the_next_one_has_a_container_of_its_own(own_session, monkeypatch):
    """The report says so. A stopped homeserver keeps its port, and a closed one frees it."""
    monkeypatch.setattr(warm, "POOLS", (1,))
    async with own_session.homeserver(HomeserverSettings()) as server:
        await server.stop()
        async with own_session.homeserver(HomeserverSettings()) as other:
            assert other.slow_because == "all 1 ports of the warm containers are in use"
            assert other.handle != server.handle
        await server.start_again()
        url = server.url

    async with own_session.homeserver(HomeserverSettings()) as server:
        assert (server.slow_because, server.url) == ("", url)
    assert "plainly, not by a warm parent: all 1 ports" in "\n".join(own_session.report())


async def test_url_and_data_stay_over_stop_kill_and_pause(session):
    """As with a container of its own."""
    async with session.homeserver(HomeserverSettings()) as server:
        alice, url = await register(server, "alice"), server.url

        for end in (server.stop, server.kill):
            await end()
            with pytest.raises(Died, match="stopped on request"):
                server.check_alive()
            await server.start_again()
            assert await knows(server, alice)

        await server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(knows(server, alice), 1)
        await server.resume()
        assert await knows(server, alice)
        assert server.url == url
        assert server.slow_because == ""


async def test_its_log_and_its_data_come_to_this_machine(session):
    """The log as it is written, and the data at the end."""
    async with session.homeserver(HomeserverSettings()) as server:
        await register(server, "alice")
        await until(lambda: "Synapse now listening" in server.log_path.read_text(), "the log")
        folder = server.log_path.parent

    assert "Main loop terminated" in server.log_path.read_text().splitlines()[-1]
    assert b"@alice" in (folder / "homeserver.db").read_bytes()


async def test_a_refused_configuration_is_synapses_own_words(session):
    """One message with the last log lines and a hint; the others go on."""
    async with session.homeserver(HomeserverSettings()) as server:
        with pytest.raises(StartFailed) as caught:
            async with session.homeserver(HomeserverSettings(extra={"database": {"name": "no such engine"}})):
                pass
        server.check_alive()

    message = str(caught.value)
    assert message.startswith("homeserver did not start: ended with exit code 1\n  last log lines:\n")
    assert "Error in configuration" in message
    assert "try: look at the settings passed as `extra`" in message


async def test_the_end_of_the_parent_is_reported_and_the_next_start_has_another(own_session, engine):
    """The container ends with its first process, and so do all homeservers in it, with their data."""
    async with own_session.homeserver(HomeserverSettings()) as server:
        engine.client.containers.get(server.container_id).kill()

        with pytest.raises(Died, match="SIGKILL"):
            await until(lambda: server.check_alive() or NotYet("it lives"), "the death", timeout_s=10)
        with pytest.raises(StartFailed, match="its container has ended, and its data with it"):
            await server.start_again()

    async with own_session.homeserver(HomeserverSettings()) as other:
        assert other.slow_because == ""
        assert other.handle != server.handle


def test_a_killed_program_leaves_no_container_and_its_folders_are_swept(engine, runs):
    """SIGKILL leaves a program no time to tidy up: the parent in the container sees its connections end."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        container_id = running.stdout.readline().strip()
        assert of(engine, runs) == [container_id]
        running.send_signal(signal.SIGKILL)

    wait_for(lambda: of(engine, runs) == [], GONE_S, "the container to go")
    sweep(ContainerEngines())
    assert list(runs.iterdir()) == []


def test_a_frozen_parent_of_a_killed_program_is_swept(engine, runs):
    """The next run removes what cannot end by itself."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        container_id = running.stdout.readline().strip()
        engine.client.containers.get(container_id).pause()
        running.send_signal(signal.SIGKILL)

    sweep(ContainerEngines())

    assert of(engine, runs) == []
    assert list(runs.iterdir()) == []


def test_two_workers_share_one_container(engine, runs, tmp_path):
    """`pytest -n 2` starts one. Afterwards nothing is left."""
    (tmp_path / "test_scene.py").write_text(SCENE)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "--greenroom-backend", "container"]

    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)

    assert "2 passed" in answer.stdout, answer.stdout
    assert "plainly" not in answer.stdout
    containers = [file.read_text() for file in tmp_path.glob("container-*")]
    assert len(containers) == 2
    assert len(set(containers)) == 1
    wait_for(lambda: of(engine, runs) == [], GONE_S, "the container to go")
    assert list(runs.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "settings", "why"),
    [({"GREENROOM_WARM": "0"}, {}, "GREENROOM_WARM=0"), ({}, {"port": 20_123}, "a port was asked for")],
    ids=["switched off", "a fixed port"],
)
async def test_what_needs_a_container_of_its_own_has_one(session, monkeypatch, environment, settings, why):
    """The report says why."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async with session.homeserver(HomeserverSettings(**settings)) as server:
        assert server.slow_because == why


async def test_a_container_makes_the_empty_database_where_this_machine_has_no_synapse(session, tmp_path, monkeypatch):
    """It is kept in the cache for the next start."""
    monkeypatch.setenv("GREENROOM_CACHE_DIR", str(tmp_path / "cache"))

    async with session.homeserver(HomeserverSettings()) as server:
        await register(server, "alice")

    assert len(list((tmp_path / "cache" / "templates").iterdir())) == 2  # the database and the lock


async def test_the_homeservers_are_nobody_special_and_reachable_from_here_only(session, engine):
    """Not root, no capabilities, published on loopback, and the secret in no list of processes."""
    async with session.homeserver(HomeserverSettings()) as server:
        attrs = engine.client.containers.get(server.container_id).attrs

        assert attrs["Config"]["User"] == "991:991"
        bindings = [each for ports in attrs["HostConfig"]["PortBindings"].values() for each in ports]
        assert {each["HostIp"] for each in bindings} == {"127.0.0.1"}
        assert len(bindings) == 1 + warm.POOLS[0]
        assert inside(engine, server.container_id, "sh", "-c", "grep -h CapEff /proc/[0-9]*/status | sort -u").split()[
            1:
        ] == ["0" * 16]
        (state,) = [warm.read_state(folder) for folder in server.log_path.parents[2].glob("*-warm-*")]
        assert state["containers"][0]["secret"] not in str(attrs)


def inside(engine: Engine, container_id: str, *command: str) -> str:
    output: bytes = engine.client.containers.get(container_id).exec_run(list(command)).output
    return output.decode()
