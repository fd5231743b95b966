"""Finding, creating and sharing warm containers, with an engine whose containers are processes that import nothing."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from typing import Any

import docker.errors
import pytest

from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.appservice import Appservice
from greenroom.homeserver.container import warm
from greenroom.homeserver.container.engine import Engine
from greenroom.homeserver.container.labels import CREATOR, RUN
from greenroom.homeserver.container.start import needs_its_own
from greenroom.homeserver.container.warm import WarmContainers, check_possible, end_idle_containers
from greenroom.homeserver.synapse import SYNAPSE
from greenroom.homeserver.synapse_config import VERSION
from greenroom.homeserver.warm.client import NotWarm
from greenroom.processes.procfs import myself
from greenroom.processes.runs import RecordedRun, Run, load, own_head, runs_root
from greenroom.waiting import until

PARENT = """
import json, socket, sys
from greenroom.homeserver.warm.contained import ContainedParent

version, options = sys.argv[1], json.loads(sys.argv[2])
listener = socket.create_server(("127.0.0.1", options["control"]))
print(flush=True)
more = {"secret": options["secret"], "pool": options["pool"], "idle_s": 0.5}
ContainedParent(listener, {"ready": version}, print, **more).serve()
"""


class FakeContainers:
    """An engine's containers. Each is a process that has the parent's wire and no Synapse."""

    def __init__(self) -> None:
        self.version = VERSION
        self.refusal = ""
        self.asked: list[dict[str, Any]] = []
        self.running: list[subprocess.Popen[str]] = []

    def create(self, image: str, **options: Any) -> FakeContainer:
        self.asked.append(options)
        if self.refusal:
            raise docker.errors.DockerException(self.refusal)
        return FakeContainer(self, str(len(self.asked)))


class FakeContainer:
    def __init__(self, owner: FakeContainers, container_id: str) -> None:
        self.id = container_id
        self._owner = owner
        self._options = ""

    def put_archive(self, _: str, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            file = tar.extractfile("greenroom/parent.json")
            assert file is not None
            self._options = file.read().decode()
        self._owner.asked[-1]["secret"] = json.loads(self._options)["secret"]

    def start(self) -> None:
        argv = [sys.executable, "-c", PARENT, self._owner.version, self._options]
        running = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        running.stdout.readline()
        self._owner.running.append(running)


@pytest.fixture
def containers() -> Iterator[FakeContainers]:
    made = FakeContainers()
    yield made
    for running in made.running:
        running.kill()
        running.communicate()


@pytest.fixture
def shared(containers, tmp_path, monkeypatch) -> Iterator[WarmContainers]:
    """Warm containers of this process, each with one port for homeservers; at most two."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path))
    monkeypatch.setattr(warm, "POOLS", (1, 1))
    yield made_for(containers)
    end_idle_containers(own_head())


def made_for(containers: FakeContainers) -> WarmContainers:
    client = type("Client", (), {"containers": containers})
    return WarmContainers(Engine(client, "", ""), SYNAPSE, "image", own_head())


async def test_a_second_container_is_made_when_the_first_has_no_port_left_and_no_third(shared, containers):
    """A homeserver that ends frees its port for the next one."""
    first, second = await shared.lease(), await shared.lease()
    assert first.container != second.container
    with pytest.raises(NotWarm, match="all 2 ports of the warm containers are in use"):
        await shared.lease()

    first.connection.close()

    third = await until(lambda: shared.lease(), "the port to be free")
    assert (third.container, third.port) == (first.container, first.port)
    assert len(containers.asked) == 2
    for lease in (second, third):
        lease.connection.close()


async def test_all_of_a_run_share_the_container(shared, containers):
    """Its head is noted as its creator, and a manifest tells the engine of a later sweep."""
    for _ in range(3):
        lease = await made_for(containers).lease()
        lease.connection.close()
        await until(lambda: containers.running[0].poll() is None, "it to live on")

    (options,) = containers.asked
    me = myself()
    assert options["labels"][CREATOR] == f"{me.pid} {me.started}"
    (folder,) = runs_root().iterdir()
    assert options["labels"][RUN] == folder.name
    manifest = load(folder)
    assert manifest is not None
    assert manifest.engines == {""}  # the default one


async def test_it_lives_on_between_two_homeservers(shared, containers):
    """A process that has used it is there until it ends, also while it runs no homeserver."""
    (await shared.lease()).connection.close()

    with pytest.raises(subprocess.TimeoutExpired):
        containers.running[0].wait(1)

    (await shared.lease()).connection.close()
    assert len(containers.asked) == 1


async def test_it_may_do_little_and_its_secret_is_in_a_file_only(shared, containers):
    """Anybody on the machine can read a command line, and whoever may use the engine an environment."""
    (await shared.lease()).connection.close()

    (options,) = containers.asked
    assert options["user"] == "991:991"
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges"]
    assert options["mem_limit"] == options["memswap_limit"] == "4g"
    assert options["auto_remove"] is True
    assert {address for address, _ in options["ports"].values()} == {"127.0.0.1"}
    secret = options.pop("secret")
    assert len(secret) > 30
    assert secret not in str(options)


async def test_one_that_has_died_is_replaced(shared, containers):
    """A lost container is no reason to start plainly."""
    first = await shared.lease()
    containers.running[0].kill()
    containers.running[0].wait()

    second = await shared.lease()

    assert second.container != first.container
    for lease in (first, second):
        lease.connection.close()


async def test_an_engine_that_refuses_is_asked_once(shared, containers):
    """The reason is told at every start, and none is slower for it than the first."""
    containers.refusal = "no such option"
    for _ in range(2):
        with pytest.raises(NotWarm, match=r"no warm container can be started: .*no such option"):
            await shared.lease()

    assert len(containers.asked) == 1


async def test_another_synapse_is_started_plainly(shared, containers):
    """A fork relies on Synapse's insides; the reason names both versions."""
    containers.version = "1.200.0"

    with pytest.raises(NotWarm, match=rf"tested with Synapse {VERSION}, and this is 1\.200\.0"):
        await shared.lease()


async def test_an_image_without_synapse_is_reported(shared, containers):
    """Its parent ends at once, and is not started again."""
    start = FakeContainer.start

    def die(container: FakeContainer) -> None:
        start(container)
        containers.running[-1].kill()
        containers.running[-1].wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeContainer, "start", die)
        for _ in range(2):
            with pytest.raises(NotWarm, match="ended while it imported Synapse"):
                await shared.lease()

    assert len(containers.asked) == 1


async def test_the_end_of_the_run_ends_it_at_once_and_removes_its_folder(shared, containers):
    """Not before the last homeserver has ended."""
    lease = await shared.lease()
    end_idle_containers(own_head())
    assert containers.running[0].poll() is None
    assert list(runs_root().iterdir()) != []

    lease.connection.close()
    await until(lambda: end_idle_containers(own_head()) or list(runs_root().iterdir()) == [], "it to end")

    assert containers.running[0].wait(5) == 0


def test_ending_a_container_that_never_was_is_nothing(tmp_path, monkeypatch):
    """A run without containers makes no folder."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path))

    end_idle_containers(own_head())

    assert list(tmp_path.iterdir()) == []


def test_warm_containers_are_for_this_machine_and_can_be_switched_off():
    """Each has its reason."""
    check_possible(Engine(None, "", ""), {})
    with pytest.raises(NotWarm, match="GREENROOM_WARM=0"):
        check_possible(Engine(None, "", ""), {"GREENROOM_WARM": "0"})
    with pytest.raises(NotWarm, match="on another machine"):
        check_possible(Engine(None, "tcp://far:2375", "far"), {})


SERVICE = Appservice(id="bridge", url="http://127.0.0.1:1", sender_localpart="bridge", as_token="a", hs_token="h")


@pytest.mark.parametrize(
    ("settings", "run_id", "dies_with_parent", "why"),
    [
        ({}, "run-1", True, ""),
        ({}, "run-1", False, "it outlives the command"),
        ({}, "dev-1", True, "its data outlives a killed `dev`"),
        ({"port": 8008}, "run-1", True, "a port was asked for"),
        ({"appservices": (SERVICE,)}, "run-1", True, "application service"),
    ],
    ids=["a test's", "detached", "dev", "a port", "an application service"],
)
def test_what_needs_a_container_of_its_own(settings, run_id, dies_with_parent, why, tmp_path):
    """Everything else shares one."""
    run = RecordedRun(run_id, tmp_path, head=own_head())

    found = needs_its_own(HomeserverSettings(**settings), run, dies_with_parent)

    assert (why in found) if why else found == ""


def test_what_no_run_notes_has_a_container_of_its_own():
    """Nothing tells when a shared one would end."""
    assert needs_its_own(HomeserverSettings(), Run("test"), True) == "no run notes it"


def test_a_process_closes_what_keeps_a_container_alive_at_its_own_end():
    """A worker of `pytest -n` ends without ending the container, which others share."""
    program = (
        "from greenroom.homeserver.container import warm\n"
        "class Connection:\n"
        "    def close(self): print('closed')\n"
        "warm._present['a container'] = Connection()\n"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (answer.stdout, answer.stderr) == ("closed\n", "")
