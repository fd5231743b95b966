"""The way between homeservers that federate, without a homeserver: an echo server is the peer."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from greenroom.errors import CapabilityMissing, Misuse
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.choose import Choice
from greenroom.homeserver.interface import Backend
from greenroom.homeserver.kind import KINDS, find_kind
from greenroom.processes.runs import RecordedRun
from greenroom.session import Session, new_name

federation = pytest.importorskip("greenroom.homeserver.federation", reason="cryptography comes with Synapse")
PEER = "hs2.greenroom.test"
MEGABYTE = b"m" * 1_000_000


@pytest.fixture
async def peer() -> AsyncIterator[str]:
    """The URL of a server that returns all that it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def proxy(tmp_path, peer) -> AsyncIterator[Any]:
    """A proxy that knows one peer."""
    with federation.federation_proxy(tmp_path) as running:
        running.connect(PEER, lambda: peer)
        yield running


@asynccontextmanager
async def connection(
    proxy: Any, name: str, says: bytes = b"200"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a name through the proxy, as Synapse does. The proxy's answer has the status `says`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.settings.proxy.rpartition(":")[2]))
    try:
        writer.write(f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == says
        if says == b"200":
            await writer.start_tls(ssl.create_default_context(cafile=proxy.settings.authority), server_hostname=name)
        yield reader, writer
    finally:
        writer.close()


async def test_a_peer_is_reached_under_its_name_with_a_certificate_of_the_authority(proxy):
    """The certificate is checked against name and authority; a long body arrives whole, in both directions."""
    async with connection(proxy, PEER) as (reader, writer):
        writer.write(MEGABYTE)
        assert await reader.readexactly(len(MEGABYTE)) == MEGABYTE


async def test_another_authority_does_not_vouch_for_a_peer(proxy, tmp_path):
    """Each homeserver trusts the authority of its own proxy only."""
    (tmp_path / "other").mkdir()
    other = federation.Authority(tmp_path / "other")
    seen = SimpleNamespace(settings=SimpleNamespace(proxy=proxy.settings.proxy, authority=str(other.file)))

    with pytest.raises(ssl.SSLCertVerificationError):
        async with connection(seen, PEER):
            pass


async def test_nobody_else_is_reached(proxy):
    """A name that the proxy was not told of has no way, and neither has a peer that does not listen."""
    proxy.connect("gone.test", lambda: "http://127.0.0.1:1")

    for name in ("matrix.org", "gone.test", "127.0.0.1"):
        async with connection(proxy, name, says=b"502"):
            pass


async def test_a_cut_ends_open_connections_and_refuses_new_ones_until_it_ends(proxy):
    """The other peers are not concerned."""
    proxy.connect("hs3.greenroom.test", proxy._peers[PEER])
    async with connection(proxy, PEER) as (reader, _), connection(proxy, "hs3.greenroom.test") as (other, to_other):
        proxy.cut(PEER)

        assert await reader.read() == b""
        async with connection(proxy, PEER, says=b"502"):
            pass
        to_other.write(b"still here")
        assert await other.readexactly(10) == b"still here"
    proxy.restore(PEER)
    async with connection(proxy, PEER) as (reader, writer):
        writer.write(b"back")
        assert await reader.readexactly(4) == b"back"


async def test_closing_ends_connections_and_the_thread(tmp_path, peer):
    """Nothing is left of a proxy, even if a homeserver holds a connection open."""
    before = set(threading.enumerate())  # a homeserver of other tests may run, with such a thread

    with federation.federation_proxy(tmp_path) as running:
        running.connect(PEER, lambda: peer)
        async with connection(running, PEER) as (reader, _):
            running.close()
            assert await reader.read() == b""

    assert [
        thread for thread in threading.enumerate() if thread not in before and thread.name == "greenroom-federation"
    ] == []


def test_closing_leaves_no_connection_that_was_accepted_a_moment_ago(tmp_path):
    """A homeserver tries a lost peer again all the time. An open socket would be a warning, and so an error, later."""
    for _ in range(20):
        proxy = federation.FederationProxy(tmp_path)
        proxy.start()
        where = urlsplit(proxy.settings.proxy)
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection((where.hostname, where.port)))
            proxy.close()
        del proxy
    gc.collect()


def server(name: str, *known: str) -> Any:
    """A homeserver by its name, and the names of all peers that it has had."""
    return SimpleNamespace(server_name=name, federation=SimpleNamespace(known=set(known)))


@pytest.mark.parametrize(
    ("wanted", "peers", "name"),
    [
        ("greenroom.test", [], "greenroom.test"),
        ("greenroom.test", [server("b.org")], "greenroom.test"),
        ("greenroom.test", [server("greenroom.test")], "hs2.greenroom.test"),
        ("greenroom.test", [server("greenroom.test", "hs2.greenroom.test")], "hs3.greenroom.test"),
        ("b.org", [server("greenroom.test"), server("c.org")], "b.org"),
    ],
)
def test_a_new_homeserver_has_a_name_that_its_peers_do_not_know(wanted, peers, name):
    """A name is never used again: homeservers remember keys and rooms by it."""
    assert new_name(wanted, peers) == name


def test_a_name_that_is_taken_is_refused():
    """A name that was asked for is not replaced by another one."""
    with pytest.raises(Misuse, match=r"there is a homeserver b\.org already"):
        new_name("b.org", [server("b.org")])
    with pytest.raises(Misuse, match=r"two of the homeservers to federate with are called b\.org"):
        new_name("c.org", [server("b.org"), server("b.org")])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_homeserver_in_a_container_cannot_federate_and_is_not_started(kind, tmp_path):
    """The lack is known before anything starts."""
    session = Session(Choice(find_kind(kind), Backend.CONTAINER, "asked for"), RecordedRun("", tmp_path))

    with pytest.raises(
        CapabilityMissing, match=rf"federation .*: homeserver \({kind}, container\) cannot do it: .* Try: "
    ):
        async with session.homeserver(HomeserverSettings(), federate_with=[server("b.org")]):
            pass
