"""A homeserver in a container: its life, its data, and one clear sentence for everything that can go wrong."""

from __future__ import annotations

import asyncio
import io
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from greenroom.errors import Died, PortTaken, StartFailed, Unavailable
from greenroom.homeserver import Capability, HomeserverSettings, Missing, Registration
from greenroom.homeserver.container.engine import connect
from greenroom.homeserver.container.labels import containers_of
from greenroom.homeserver.container.start import ContainerHomeserver
from greenroom.homeserver.kind import Recipe
from greenroom.homeserver.synapse import COMMAND, ENTRYPOINT, SYNAPSE, synapse_recipe
from greenroom.people.accounts import register
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.processes.runs import Run
from greenroom.waiting import until
from tests.e2e.container_engine import nothing_stays, require_engine

pytestmark = pytest.mark.container
FAST_S = 30  # a start that fails must not wait for the start's time limit of a minute


@pytest.fixture
def engine(tmp_path):
    """An engine that has a Synapse image; nothing of ours is in it afterwards."""
    engine, _ = require_engine()
    with nothing_stays(engine, tmp_path.resolve()):
        yield engine
    engine.close()


def container(folder: Path, **settings) -> ContainerHomeserver:
    return ContainerHomeserver(folder / "homeserver", HomeserverSettings(**settings), kind=SYNAPSE, run=Run("test"))


async def make_room(server, name: str) -> tuple[str, str]:
    async with MatrixApi(server.url) as api:
        account = await register(server, name, api=api)
        answer = await api.call("POST", path("createRoom"), token=account.access_token, json={})
        return account.access_token, answer["room_id"]


async def rooms(server, token: str) -> list[str]:
    async with MatrixApi(server.url) as api:
        return (await api.call("GET", path("joined_rooms"), token=token))["joined_rooms"]


async def watch(server, seconds: float) -> None:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        server.check_alive()
        await asyncio.sleep(0.01)


def can_bind(free: socket.socket, url: str) -> bool:
    """Bind the port of a stopped server, which its engine may hold for a moment longer."""
    try:
        free.bind(("127.0.0.1", int(url.rpartition(":")[2])))
    except OSError:
        return False
    return True


async def test_url_accounts_and_rooms_stay_over_stop_kill_and_pause(engine, tmp_path):
    """Docker would give a port of its own choice anew at each start; ours is chosen once."""
    async with container(tmp_path).running() as server:
        url = server.url
        token, room_id = await make_room(server, "alice")

        for end in (server.stop, server.kill):
            await end()
            with pytest.raises(Died, match="stopped on request"):
                server.check_alive()
            await server.start_again()
            assert await rooms(server, token) == [room_id]

        await server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rooms(server, token), 1)
        await server.resume()
        assert await rooms(server, token) == [room_id]
        assert server.url == url


async def test_data_comes_back_to_this_machine_and_goes_into_the_next_container(engine, tmp_path):
    """No volume and no bind mount: a dev environment goes on where it was, on a remote engine too."""
    async with container(tmp_path).running() as server:
        token, room_id = await make_room(server, "alice")

    async with container(tmp_path).running() as server:
        assert await rooms(server, token) == [room_id]


async def test_a_container_that_dies_by_itself_is_noticed_at_once(engine, tmp_path):
    """The end of its log stream tells; nobody polls and nobody waits."""
    async with container(tmp_path).running() as server:
        client = engine.client.containers.get(server.container_id)
        client.kill()

        with pytest.raises(Died, match=r"homeserver died: ended with signal SIGKILL"):
            await watch(server, 5)

    assert "Synapse now listening" in server.log_path.read_text()


async def test_the_server_is_nobody_special_and_reachable_from_here_only(engine, tmp_path):
    """Not root, no capabilities, published on loopback."""
    async with container(tmp_path).running() as server:
        attrs = engine.client.containers.get(server.container_id).attrs

        assert attrs["Config"]["User"] == "991:991"
        assert [each["HostIp"] for each in attrs["HostConfig"]["PortBindings"]["8008/tcp"]] == ["127.0.0.1"]
        assert attrs["HostConfig"]["Memory"] == attrs["HostConfig"]["MemorySwap"] == 1 << 30
        status = engine.client.containers.get(server.container_id).exec_run(["cat", "/proc/1/status"]).output.decode()
        assert re.search(r"^Uid:\t991\t991\t991\t991$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)


async def test_a_recipe_without_a_command_runs_what_its_image_names(engine, tmp_path):
    """A kind may leave entry point and command to its image. Ours of Synapse names the same ones as the harness."""

    def recipe(*arguments) -> Recipe:
        return replace(synapse_recipe(*arguments), entrypoint=[], command=[])

    kind = replace(SYNAPSE, recipe=recipe)
    async with ContainerHomeserver(tmp_path / "homeserver", kind=kind, run=Run("test")).running() as server:
        await make_room(server, "alice")

        attrs = engine.client.containers.get(server.container_id).attrs
        assert (attrs["Config"]["Entrypoint"], attrs["Config"]["Cmd"]) == (ENTRYPOINT, COMMAND)


async def test_a_refused_configuration_is_synapses_own_words_at_once(engine, tmp_path):
    """One message with the last log lines and a hint; nothing is left."""
    began = time.monotonic()

    with pytest.raises(StartFailed) as caught:
        await container(tmp_path, extra={"database": {"name": "no such engine"}}).start()

    message = str(caught.value)
    assert message.startswith("homeserver did not start: ended with exit code 1\n  last log lines:\n")
    assert "Error in configuration" in message
    assert f"full log: {tmp_path / 'homeserver' / 'homeserver.log'}" in message
    assert "try: look at the settings passed as `extra`" in message
    assert time.monotonic() - began < FAST_S


async def test_a_taken_port_is_named(engine, tmp_path):
    """The engine's error is turned into PortTaken, and the half-made container is removed."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortTaken, match=f"^homeserver did not start: port {port} on 127.0.0.1 is taken"):
            await container(tmp_path, port=port).start()


async def test_a_port_taken_while_the_server_was_stopped_is_named(engine, tmp_path):
    """Its own port cannot be had again; that is said, and another start works once it is free."""
    async with container(tmp_path).running() as server:
        await server.stop()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await until(lambda: can_bind(other, server.url), "the engine to give up the port")
            other.listen()
            with pytest.raises(PortTaken):
                await server.start_again()

        await server.start_again()


async def test_a_missing_image_is_one_sentence_with_a_cure(engine, tmp_path, monkeypatch):
    """Whether a registry answers or not: this image is in none."""
    monkeypatch.setenv("GREENROOM_SYNAPSE_IMAGE", "127.0.0.1:1/greenroom-no-such-image:1")
    began = time.monotonic()

    with pytest.raises(Unavailable) as caught:
        await container(tmp_path).start()

    assert re.fullmatch(
        r"synapse in a container is not available: the engine has no image 127\.0\.0\.1:1/greenroom-no-such-image:1, "
        r"and pulling fails \(.+\)\. Try: another image in GREENROOM_SYNAPSE_IMAGE, or none there and `.+ image`",
        str(caught.value),
    )
    assert time.monotonic() - began < FAST_S


async def test_an_image_that_exits_at_once_is_reported_with_its_last_words(engine, tmp_path, monkeypatch):
    """Not a homeserver, or a broken one: no waiting for readiness."""
    with image(engine, "ENV PYTHONHOME=/nowhere") as name:
        monkeypatch.setenv("GREENROOM_SYNAPSE_IMAGE", name)
        began = time.monotonic()

        with pytest.raises(StartFailed, match=r"did not start: ended with exit code 1") as caught:
            await container(tmp_path).start()

    assert any("Python" in line for line in caught.value.tail)
    assert time.monotonic() - began < FAST_S


async def test_an_image_without_the_program_is_reported(engine, tmp_path, monkeypatch):
    """The engine refuses to start it; its words, nothing left."""
    with image(engine, "ENV PATH=/nowhere") as name:
        monkeypatch.setenv("GREENROOM_SYNAPSE_IMAGE", name)

        with pytest.raises(StartFailed, match=r'did not start: starting a container: .*"python"'):
            await container(tmp_path).start()


async def test_a_cancelled_start_leaves_nothing(engine, tmp_path):
    """Ctrl-C while the container is being made."""
    for after_s in (0.05, 0.5):
        starting = asyncio.ensure_future(container(tmp_path).start())
        await asyncio.sleep(after_s)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    assert containers_of(engine, "test") == []


async def test_an_engine_behind_tcp_serves_as_well(engine, tmp_path, monkeypatch):
    """Files are copied through the engine's interface, so nothing of this machine's disk is needed there."""
    with tcp_to_engine() as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        homeserver = ContainerHomeserver(tmp_path / "homeserver", kind=SYNAPSE, run=Run("test"), connect=connect)

        async with homeserver.running() as server:
            token, room_id = await make_room(server, "alice")
            assert await rooms(server, token) == [room_id]

    assert (tmp_path / "homeserver" / "homeserver.db").exists()


async def test_an_account_by_registration_token_on_a_server_that_asks_for_one(fresh_homeserver):
    """The path that Conduit needs, walked on Synapse."""
    server = await fresh_homeserver(extra={"enable_registration": True, "registration_requires_token": True})
    root = await register(server, "root", admin=True)
    async with MatrixApi(server.url) as api:
        new_token = "/_synapse/admin/v1/registration_tokens/new"
        made = await api.call("POST", new_token, token=root.access_token, json={})
        server.registration = Registration(Capability.REGISTRATION_TOKEN, made["token"])
        server.missing = {Capability.SHARED_SECRET_REGISTRATION: Missing("it is not used here", "the token")}

        account = await register(server, "alice", "a-pass", displayname="Alice", api=api)

        assert account.user_id == "@alice:greenroom.test"
        await api.log_in("alice", "a-pass", "DEVICE")
        profile = await api.call("GET", path("profile", account.user_id))
        assert profile["displayname"] == "Alice"


@contextmanager
def image(engine, line: str) -> Iterator[str]:
    """An image made of the Synapse image and one more line; removed again."""
    _, base = require_engine()
    name = "greenroom-test-broken:1"
    dockerfile = io.BytesIO(f"FROM {base}\n{line}\n".encode())
    engine.client.images.build(fileobj=dockerfile, tag=name, rm=True, forcerm=True)
    try:
        yield name
    finally:
        engine.client.images.remove(name, force=True)


@contextmanager
def tcp_to_engine() -> Iterator[str]:
    """A loopback TCP port in front of the engine's socket: what DOCKER_HOST=tcp://… meets elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        engine = socket.socket(socket.AF_UNIX)
        engine.connect("/var/run/docker.sock")
        threading.Thread(target=_relay, args=(client, engine), daemon=True).start()


def _relay(client: socket.socket, engine: socket.socket) -> None:
    with client, engine:
        peers = {client: engine, engine: client}
        while True:
            for ready in select.select(list(peers), [], [])[0]:
                chunk = ready.recv(65536)
                if not chunk:
                    return
                peers[ready].sendall(chunk)
