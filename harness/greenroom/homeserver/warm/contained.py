"""The warm parent inside a container: the one of `parent.py`, served over TCP, for homeservers with folders of its own.

It runs as `python -m greenroom.homeserver.warm.contained FILE`, with these two files, Synapse and the standard library.
FILE is JSON: {"secret", "control", "pool"}, of which `control` is the port on which it listens, and `pool` the ports
for homeservers. Each homeserver is one connection, from its first start until the connection closes; in that time it
may be stopped and started again, and keeps its port and its folder. A connection's lines of JSON:

- the greeting is {"ready": VERSION, "number": N}. Whatever comes first must have the "secret";
- {"lease": true} is answered {"port": N}, a free port of the pool, or {"port": 0} where all are taken;
- {"lend_to": N}, on a connection of its own, lends this connection to that of number N, as its next output. It is
  answered {"lent": true}. Over a Unix socket a descriptor would be sent instead, which TCP cannot do;
- {"argv", "cwd", "bytes"}, and then so many bytes of a tar of files for the folder `cwd`, starts what `argv` names,
  with both its outputs on the connection that was lent. As in `parent.py` {"pid"} follows, and at its end {"status"}.
  The `argv` of FETCH writes the folder as a tar; with {"freeze": N}, what runs on the connection of that number is
  stopped first (SIGSTOP). One at a time: a client that starts a second one is sent away;
- {"signal": N} is sent to what runs, and to all that it has started;
- {"end": true} as in `parent.py`, and is answered {"ends": BOOL};
- {"present": true} is not answered: such a connection keeps the parent alive.

It ends some seconds after its last connection; then the container ends, and is removed.
"""

from __future__ import annotations

import hmac
import io
import itertools
import json
import os
import shutil
import signal
import socket
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from greenroom.homeserver.warm.parent import LINE_BYTES, Client, Message, Parent, prepare, send

FETCH = ["fetch"]
TOP = "data"  # of the tar that FETCH writes
IDLE_S = 5.0


class ContainedParent(Parent):
    """Accepts requests until it was alone for a while."""

    def __init__(
        self,
        listener: socket.socket,
        greeting: Message,
        run: Callable[[Message], None],
        *,
        secret: str,
        pool: list[int],
        idle_s: float = IDLE_S,
    ) -> None:
        super().__init__(listener, None, greeting, run)
        self._secret = secret
        self._pool = pool
        self._idle_s = idle_s
        self._numbers = itertools.count(1)

    def _patience_s(self) -> float | None:
        return None if any(client.trusted for client in self._clients) else self._idle_s

    def _greet(self, client: Client) -> None:
        client.number = next(self._numbers)
        send(client.connection, {**self._greeting, "number": client.number})

    def _take(self, client: Client) -> None:
        """Answer each request of a connection that has arrived with its files."""
        while client in self._clients:
            if client.request is None:
                line, newline, rest = client.received.partition(b"\n")
                if not newline:
                    return
                client.received, client.request = rest, self._understood(client, bytes(line))
            request = client.request
            if request is None:
                self._drop(client)
                return
            size = int(request.get("bytes", 0))
            client.limit_bytes = LINE_BYTES + size
            if len(client.received) < size:
                return
            request["files"] = bytes(client.received[:size])
            del client.received[:size]
            client.request = None
            self._answer(client, request)

    def _understood(self, client: Client, line: bytes) -> Message | None:
        """Return the request in a line; None from strangers: anybody on the machine can connect."""
        with suppress(ValueError):
            request = json.loads(line)
            if isinstance(request, dict):
                secret = str(request.get("secret", ""))
                client.trusted = client.trusted or hmac.compare_digest(secret.encode(), self._secret.encode())
                return request if client.trusted else None
        return None

    def _answer(self, client: Client, request: Message) -> None:
        if "lease" in request:
            client.port = client.port or self._free_port()
            send(client.connection, {"port": client.port})
        elif "lend_to" in request:
            self._lend(client, request["lend_to"])
        elif "signal" in request:
            if client.pidfd >= 0:  # it may have ended meanwhile
                self._signal(client, request["signal"])
        elif "present" not in request:
            if "end" in request:
                send(client.connection, {"ends": self._clients == [client]})
            if client.pidfd >= 0:
                self._drop(client)
            else:
                super()._answer(client, request)

    def _free_port(self) -> int:
        taken = {client.port for client in self._clients}
        return next((port for port in self._pool if port not in taken), 0)

    def _lend(self, client: Client, number: int) -> None:
        """Make a connection the next output of another one. From now on only a child uses it."""
        owner = self._numbered(number)
        if owner is None:
            self._drop(client)
            return
        send(client.connection, {"lent": True})
        self._selector.unregister(client.connection)
        self._clients.remove(client)
        client.connection.setblocking(True)
        owner.descriptors.append(client.connection.detach())

    def _numbered(self, number: int) -> Client | None:
        return next((client for client in self._clients if client.number == number), None)

    def _fork(self, client: Client, request: Message) -> None:
        if request["argv"] != FETCH:
            client.folder = request["cwd"]
            Path(client.folder).mkdir(mode=0o700, exist_ok=True)
        elif (frozen := self._numbered(request.get("freeze", 0))) and frozen.pidfd >= 0:
            self._signal(frozen, signal.SIGSTOP)
            request["frozen"] = frozen.pid
        request["env"] = dict(os.environ)
        super()._fork(client, request)

    def _after(self, client: Client) -> None:
        client.pid = 0  # it may be started again

    def _drop(self, client: Client) -> None:
        super()._drop(client)
        if client.folder:
            shutil.rmtree(client.folder, ignore_errors=True)


def or_fetch(run: Callable[[Message], None]) -> Callable[[Message], None]:
    """Return what a child does with its request: fetch, or first unpack the files and then `run`."""

    def do(request: Message) -> None:
        if request["argv"] == FETCH:
            while _runs(request.get("frozen", 0)):
                time.sleep(0.001)
            with os.fdopen(1, "wb", closefd=False) as output, tarfile.open(fileobj=output, mode="w|") as tar:
                tar.add(".", arcname=TOP)
            return
        if request["files"]:
            with tarfile.open(fileobj=io.BytesIO(request["files"])) as tar:
                tar.extractall(filter="data")
        run(request)

    return do


def _runs(pid: int) -> bool:
    """Return whether a process runs or sleeps: a signal to stop takes effect a moment after it was sent."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "RSD"
    return False


def main() -> None:
    """Listen, import Synapse, then serve."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process of a container ignores it by default
    options = json.loads(Path(sys.argv[1]).read_text())
    listener = socket.create_server(("", options["control"]), backlog=64)
    greeting, run = prepare()
    ContainedParent(listener, greeting, or_fetch(run), secret=options["secret"], pool=options["pool"]).serve()
    os._exit(0)  # the connections end now and not in the middle of the interpreter's end


if __name__ == "__main__":
    main()
