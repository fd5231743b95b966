"""The rights of a container, its files, its image, and the error where no engine answers. No test needs an engine."""

from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from greenroom.errors import Died, Unavailable
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.container.archive import pack, unpack
from greenroom.homeserver.container.create import Placement, create_options
from greenroom.homeserver.container.engine import Engine, connect, engine_url, publish_address, reason
from greenroom.homeserver.container.image import candidates, set_up_reaper
from greenroom.homeserver.container.labels import OUTLIVES, OWNER, RUN, labels_of, orphans, owner
from greenroom.homeserver.container.running import RunningContainer
from greenroom.homeserver.interface import Capability
from greenroom.homeserver.settings import PORTS, Secrets
from greenroom.homeserver.synapse import SYNAPSE, VERSION, synapse_recipe
from greenroom.homeserver.synapse_config import synapse_config
from greenroom.homeserver.synapse_process import RunningSynapseProcess
from greenroom.processes.procfs import myself
from greenroom.processes.runs import Run

ROOT = Path(__file__).parents[2]
SECRETS = Secrets("registration", "macaroon", "form", "ed25519 a_0000 key")


def engine(host: str = "", client: object = None) -> Engine:
    return Engine(client, f"tcp://{host}:2375" if host else "", host)


def placement(folder: Path, **more) -> Placement:
    return Placement(engine(), Run("run-1-2-abcd"), folder, folder / "log", **more)


def recipe(**settings):
    return synapse_recipe("image", HomeserverSettings(**settings), SECRETS, Path("/nonexistent"))


def test_the_container_runs_synapse_with_the_harness_configuration():
    """Process and container share one configuration; only folder, port and address differ."""
    rendered = yaml.safe_load(recipe().files["homeserver.yaml"])

    expected = synapse_config(HomeserverSettings(), SECRETS, folder="/greenroom", port=8008, bind="0.0.0.0")
    assert rendered == yaml.safe_load(yaml.safe_dump(expected))


def test_the_start_command_is_the_one_that_both_images_understand():
    """The command replaces the official image's start script, which would write a configuration of its own."""
    assert recipe().entrypoint == ["python", "-m", "synapse.app.homeserver"]
    assert recipe().command == ["--config-path", "/greenroom/homeserver.yaml"]


def test_the_container_is_not_root_and_may_do_little(tmp_path):
    """The container's user is not root and cannot gain rights; memory and processes are limited."""
    options = create_options(recipe(), placement(tmp_path))

    assert options["user"] == "991:991"
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges"]
    assert options["mem_limit"] == options["memswap_limit"] == "1g"
    assert options["pids_limit"] == 512


def test_everything_is_labelled_with_its_run_and_its_owner(tmp_path):
    """Labels name the run and the owner of a container, and whether it outlives its maker."""
    assert (
        create_options(recipe(), placement(tmp_path))["labels"].items()
        >= {
            RUN: "run-1-2-abcd",
            OWNER: owner(),
        }.items()
    )
    assert OUTLIVES not in labels_of("r", tmp_path, "/d")
    assert OUTLIVES in labels_of("r", tmp_path, "/d", outlives=True)


def test_ports_are_never_ones_that_the_kernel_hands_out():
    """The port of a stopped server cannot be taken by an outgoing connection of another program."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(PORTS) < min(ephemeral, 32768)


def test_synapse_can_do_the_same_in_a_container_and_as_a_process():
    """Synapse has the same capabilities and the same way to an account on both backends."""
    assert RunningSynapseProcess.missing == SYNAPSE.missing
    assert SYNAPSE.registration is Capability.SHARED_SECRET_REGISTRATION
    assert Capability.ADMIN_API in SYNAPSE.capabilities
    assert Capability.REGISTRATION_TOKEN not in SYNAPSE.capabilities


def test_packed_files_belong_to_the_servers_user_alone():
    """The server's user owns the packed files, and no other user can read them."""
    with tarfile.open(fileobj=io.BytesIO(pack("/a/b", {"x": b"1", "sub/y": b"22"}, uid=991, gid=992))) as tar:
        entries = {entry.name: entry for entry in tar}

    assert list(entries) == ["a/b", "a/b/x", "a/b/sub", "a/b/sub/y"]
    assert {(entry.uid, entry.gid) for entry in entries.values()} == {(991, 992)}
    assert entries["a/b"].mode == 0o700
    assert entries["a/b/sub/y"].mode == 0o600


def test_what_comes_out_of_a_container_cannot_be_written_elsewhere(tmp_path):
    """Links, absolute paths and `..` in an archive are not unpacked; regular files are, with mode 0600."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("data", "data/homeserver.db", "data/../../evil", "/data/abs", "data/media/x"):
            entry = tarfile.TarInfo(name)
            if name == "data":
                entry.type = tarfile.DIRTYPE
            entry.size = 0 if name == "data" else 3
            tar.addfile(entry, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("data/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    folder = tmp_path / "inner" / "folder"
    folder.mkdir(parents=True)

    written = unpack([buffer.getvalue()], folder)

    assert sorted(written) == ["homeserver.db", "media/x"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "inner/folder/homeserver.db",
        "inner/folder/media/x",
    ]
    assert (folder / "homeserver.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("order", [("hs.db", "hs.db-wal"), ("hs.db-wal", "hs.db"), ("hs.db",)], ids=" ".join)
def test_a_write_ahead_log_that_an_earlier_crash_left_goes_with_its_database(tmp_path, order):
    """A clean stop brings none: the old one would damage the new database. One that is brought stays, in any order."""
    (tmp_path / "hs.db").write_bytes(b"old")
    (tmp_path / "hs.db-wal").write_bytes(b"old")
    (tmp_path / "hs.db-shm").write_bytes(b"old")
    (tmp_path / "other.db-wal").write_bytes(b"old")

    unpack([pack("/data", dict.fromkeys(order, b"new"), uid=0, gid=0)], tmp_path.parent / tmp_path.name)

    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == {**dict.fromkeys(order, b"new"), "other.db-wal": b"old"}


def test_data_of_an_earlier_container_goes_into_the_next(tmp_path):
    """A new container gets the database and the media of the last one, and a new configuration."""
    (tmp_path / "homeserver.db").write_bytes(b"db")
    (tmp_path / "homeserver.yaml").write_bytes(b"old")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "m").write_bytes(b"m")

    files = synapse_recipe("image", HomeserverSettings(), SECRETS, tmp_path).files

    assert files["homeserver.db"] == b"db"
    assert files["media/m"] == b"m"
    assert files["homeserver.yaml"] != b"old"


def test_images_are_pinned_to_the_version_that_the_process_runs():
    """Every backend runs the same version of Synapse, unless the environment names an image."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert pins["matrix-synapse"] == VERSION
    assert all(name.endswith(VERSION) for name in candidates(SYNAPSE, {}).names)
    assert candidates(SYNAPSE, {"GREENROOM_SYNAPSE_IMAGE": "mine:1"}).names == ("mine:1",)


def test_an_engine_that_is_not_there_is_one_sentence_with_a_cure():
    """If no engine answers, the error is one sentence with a cure and no chain of exceptions."""
    with pytest.raises(Unavailable) as caught:
        connect("unix:///nonexistent/docker.sock")

    assert str(caught.value) == (
        "a container engine is not available: unix:///nonexistent/docker.sock: No such file or directory. "
        "Try: start Docker (or name another engine in DOCKER_HOST), or use --backend process"
    )


def test_an_engine_that_refuses_connections_is_told_from_an_absent_socket():
    """The error of an engine that refuses connections names that reason."""
    with pytest.raises(Unavailable, match=r"tcp://127.0.0.1:1: Connection refused"):
        connect("tcp://127.0.0.1:1")


def test_docker_host_wins():
    """DOCKER_HOST names the engine, whatever else is configured."""
    assert engine_url({"DOCKER_HOST": "tcp://host:1"}) == "tcp://host:1"


def test_a_homeserver_is_never_opened_to_a_network_by_accident():
    """A local engine publishes on loopback; for a remote engine the person must name the address."""
    assert publish_address(engine(), {}) == "127.0.0.1"
    assert publish_address(engine("127.0.0.1"), {}) == "127.0.0.1"
    with pytest.raises(Unavailable, match="set GREENROOM_PUBLISH_ADDRESS"):
        publish_address(engine("build.example"), {})
    assert publish_address(engine("build.example"), {"GREENROOM_PUBLISH_ADDRESS": "10.0.0.5"}) == "10.0.0.5"


def test_the_reason_is_the_innermost_error():
    """An error that docker-py, requests and urllib3 have wrapped is reported by its innermost cause."""
    outer = RuntimeError("Error while fetching server API version")
    outer.__cause__ = ConnectionError(FileNotFoundError(2, "No such file or directory"))

    assert reason(outer) == "No such file or directory"


class FakeContainer:
    """A container as docker-py lists it."""

    def __init__(self, **labels: str) -> None:
        self.labels = {f"dev.greenroom.{name}": value for name, value in labels.items()}
        self.short_id = "abc"


class FakeClient:
    """An engine with these containers."""

    def __init__(self, *containers: FakeContainer) -> None:
        self.containers = self
        self._containers = containers

    def list(self, **_: object) -> tuple[FakeContainer, ...]:
        return self._containers


def test_only_containers_whose_maker_is_dead_are_orphans(tmp_path):
    """A container is no orphan while its maker runs, or while a dev environment's manifest names its run."""
    me, dead = f"{myself().pid} {myself().started}", f"{myself().pid} another/1"
    dev = tmp_path / "project" / ".greenroom"
    dev.mkdir(parents=True)
    (dev / "run.json").write_text('{"run_id": "dev-1-aa"}')
    living = FakeContainer(run="run-1", creator=me, folder="/x")
    kept = FakeContainer(run="dev-1-aa", creator=dead, folder=str(dev / "homeserver"))
    orphan = FakeContainer(run="run-2", creator=dead, folder="/x")
    lost_dev = FakeContainer(run="dev-1-bb", creator=dead, folder=str(dev / "homeserver"))

    assert orphans(engine(client=FakeClient(living, kept, orphan, lost_dev))) == [orphan, lost_dev]


class Present:
    """An engine with these images."""

    def __init__(self, *names: str) -> None:
        self.images = self
        self._names = names

    def get(self, name: str) -> None:
        import docker.errors

        if name not in self._names:
            raise docker.errors.ImageNotFound(name)


def test_ryuk_is_used_only_where_its_image_is_present_and_the_container_does_not_outlive_us():
    """Without Ryuk's image every start would try to pull it, so Ryuk is off and our own sweep tidies up."""
    from testcontainers.core.config import testcontainers_config

    assert set_up_reaper(engine(client=Present()), wanted=True, environ={}) is False
    assert testcontainers_config.ryuk_disabled
    here = Present(testcontainers_config.ryuk_image)
    assert set_up_reaper(engine(client=here), wanted=False, environ={}) is False
    assert set_up_reaper(engine(client=here), wanted=True, environ={"TESTCONTAINERS_RYUK_DISABLED": "true"}) is False


def test_ryuk_never_gets_the_data_of_a_killed_dev(tmp_path):
    """Ryuk may remove the containers of a test run, but none of `dev`, whose data the next `dev` brings back."""
    dev = Placement(engine(), Run("dev-1-abcd"), tmp_path, tmp_path / "log")

    assert not dev.may_be_reaped
    assert not placement(tmp_path, dies_with_parent=False).may_be_reaped
    assert placement(tmp_path).may_be_reaped


class StoppedContainer:
    """A container that reports its end once it was stopped."""

    id = "abc"

    def __init__(self) -> None:
        self.attrs = {"State": {"Running": True}}

    def reload(self) -> None:
        pass

    def stop(self, timeout: int) -> None:
        self.attrs = {"State": {"Running": False, "ExitCode": 0}}

    def logs(self, **_: object) -> bytes:
        return b"bye"


async def test_after_a_stop_the_engine_is_believed_and_not_a_log_stream_that_ends_late(tmp_path):
    """A stopped homeserver does not count as alive, even while its log stream is still open."""
    server = RunningContainer(SYNAPSE, recipe(), placement(tmp_path), HomeserverSettings(), SECRETS)
    server._container = StoppedContainer()
    server._follower = SimpleNamespace(ended=threading.Event(), finish=lambda: None)
    server.check_alive()

    await server.stop()

    with pytest.raises(Died, match="stopped on request"):
        server.check_alive()
