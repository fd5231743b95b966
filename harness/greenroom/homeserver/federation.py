"""Federation on loopback, without DNS and without the network outside.

A homeserver of a test run has a proxy of its own for all that it sends to other homeservers. Synapse asks that proxy to
`CONNECT` to a server name. The proxy knows the homeservers that this one federates with by their names, and no others.
It shows a certificate of that name, ends the TLS connection there as a reverse proxy does, and passes the requests on.
The homeserver trusts one authority: the proxy's own, which signs these certificates.

So server names, and with them user ids, are the same in every run, and a test can cut the way between two homeservers.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Synapse brings `cryptography`. Import this module only for a Synapse of this machine.
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from greenroom.errors import HarnessError
from greenroom.homeserver.settings import LOOPBACK, FederationSettings, replace_text

WAIT_S = 10.0
CLOSE_S = 1.0
CHUNK_BYTES = 65_536
CONNECTED = b"HTTP/1.1 200 Connected\r\n\r\n"
NO_WAY = b"HTTP/1.1 502 No way to that server\r\nContent-Length: 0\r\n\r\n"


class Authority:
    """A certificate authority that lives as long as this object. It writes its files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._issued: dict[str, ssl.SSLContext] = {}
        self._key, self._name = _new_key(), _x509_name("Greenroom")
        self.file = folder / "authority.pem"
        self._write(self.file, self._name, self._key)

    def context(self, server_name: str) -> ssl.SSLContext:
        """Return what a TLS server of that name needs."""
        if server_name not in self._issued:
            file = self._folder / f"{server_name}.pem"
            self._write(file, _x509_name(server_name), _new_key(), server_name)
            self._issued[server_name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._issued[server_name].load_cert_chain(file)
        return self._issued[server_name]

    def _write(self, file: Path, subject: x509.Name, key: ec.EllipticCurvePrivateKey, server_name: str = "") -> None:
        """Write a certificate, and for a server its key: the authority's key stays in memory."""
        now = datetime.now(UTC)
        kind: x509.ExtensionType = x509.BasicConstraints(ca=True, path_length=0)
        if server_name:
            kind = x509.SubjectAlternativeName([x509.DNSName(server_name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(kind, critical=not server_name)
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        text = certificate.public_bytes(pem)
        if server_name:
            form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            text += key.private_bytes(pem, form, secret)
        replace_text(file, text.decode())


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _x509_name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])  # 64: the standard's limit


class FederationProxy:
    """The way of one homeserver to its peers. It runs in a thread of its own. Its methods return once they hold.

    `known`: the names of all peers that this homeserver has ever had. A new peer needs a name that is not among them,
    because the homeserver remembers the keys and rooms of an earlier one.
    """

    def __init__(self, folder: Path) -> None:
        self.known: set[str] = set()
        self._peers: dict[str, Callable[[], str]] = {}
        self._cut: set[str] = set()
        self._open: dict[asyncio.Task[Any], str] = {}
        self._authority = Authority(folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="greenroom-federation", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def settings(self) -> FederationSettings:
        """What the homeserver must be told."""
        assert self._server is not None, "the proxy has been started"
        port = self._server.sockets[0].getsockname()[1]
        return FederationSettings(proxy=f"http://{LOOPBACK}:{port}", authority=str(self._authority.file))

    def start(self) -> None:
        """Start to serve, on a port that the system chooses."""
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, LOOPBACK, 0))

    def close(self) -> None:
        """End all connections and the thread. Safe to call twice."""
        self._call(self._end())
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)

    def connect(self, name: str, url: Callable[[], str]) -> None:
        """Make a peer known. `url` returns where it is now."""
        self.known.add(name)
        self._peers[host(name)] = url

    def disconnect(self, name: str) -> None:
        """Forget a peer, and end the connections to it."""
        self.cut(name)
        self._peers.pop(host(name), None)
        self.restore(name)

    def cut(self, name: str) -> None:
        """End the connections to a peer, and refuse new ones until `restore`."""
        self._cut.add(host(name))
        self._call(self._drop(host(name)))

    def restore(self, name: str) -> None:
        """Let connections to a peer through again."""
        self._cut.discard(host(name))

    # -- in the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())  # and so to the end of all connections
            self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the thread and return its result. A closed proxy has no connections, so nothing is to do."""
        if not self._thread.is_alive():
            work.close()
            return None
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)
        except TimeoutError:
            raise HarnessError(f"the federation proxy did not react within {WAIT_S:g} s") from None

    async def _end(self) -> None:
        listening = self._server.sockets if self._server is not None else ()
        for socket in listening:
            self._loop.remove_reader(socket.fileno())  # so that nothing is accepted while the server closes
        while asyncio.all_tasks() - {asyncio.current_task()}:
            await self._drop(*set(self._open.values()))
            await asyncio.sleep(0)  # a connection that was accepted a moment ago is not in `_open` yet
        if self._server is not None:
            self._server.close()

    async def _drop(self, *names: str) -> None:
        dropped = [task for task, name in self._open.items() if name in names]
        for task in dropped:
            task.cancel()
        await asyncio.gather(*dropped, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection of our homeserver, until one end closes it or the way is cut."""
        task = asyncio.current_task()
        assert task is not None, "the server runs this in a task"
        self._open[task] = ""
        writers = [writer]
        try:
            await self._carry(task, reader, writers)
            for one in writers:
                one.close()
            await asyncio.wait_for(asyncio.gather(*(one.wait_closed() for one in writers)), CLOSE_S)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # one end has left, or the way was cut; the homeserver notices that the connection has ended
        finally:
            for one in writers:
                one.transport.abort()
            del self._open[task]

    async def _carry(
        self, task: asyncio.Task[Any], reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]
    ) -> None:
        (writer,) = writers
        name = self._open[task] = await _asked_for(reader)
        peer = await self._reach(name)
        writer.write(CONNECTED if peer else NO_WAY)
        await writer.drain()
        if peer:
            writers.append(peer[1])
            await writer.start_tls(self._authority.context(name))
            await _first_to_end(_copy(reader, peer[1]), _copy(peer[0], writer))

    async def _reach(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to a peer. Return None if there is none of that name, the way is cut, or it does not listen."""
        if name in self._cut or name not in self._peers:
            return None
        where = urlsplit(self._peers[name]())
        try:
            return await asyncio.open_connection(where.hostname, where.port)
        except OSError:
            return None


def host(server_name: str) -> str:
    """Return a server name without its port: a proxy knows each server by it, and it is what a certificate names."""
    return server_name.partition(":")[0]


async def _asked_for(reader: asyncio.StreamReader) -> str:
    """Return the server name in `CONNECT name:port HTTP/1.1`."""
    head = await reader.readuntil(b"\r\n\r\n")
    words = head.decode(errors="replace").split()
    return host(words[1]) if words[:1] == ["CONNECT"] and len(words) > 1 else ""


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()


async def _first_to_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run these until the first of them ends. Raise what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


@contextmanager
def federation_proxy(folder: Path) -> Iterator[FederationProxy]:
    """Run a homeserver's way to its peers for the length of a `with`. Its certificates are in `folder`."""
    proxy = FederationProxy(folder)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
