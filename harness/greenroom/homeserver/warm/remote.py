"""Have the warm parent in a container fork homeservers, over TCP. What goes over the wire is told in `contained.py`.

Nearly all here waits for the network, so it is called on worker threads.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import IO, Any

from greenroom.homeserver.warm.client import ANSWER_TIMEOUT_S, POLL_S, READY_TIMEOUT_S, Connection, Forked, NotWarm
from greenroom.homeserver.warm.contained import FETCH
from greenroom.processes.process import Child, Command, ManagedProcess

LOG_TIMEOUT_S = 3.0


class Gone(Exception):
    """No parent listens there any more."""


@dataclass(frozen=True)
class Address:
    """Where the parent in a container listens, and the secret that it asks for."""

    host: str
    port: int
    secret: str


class RemoteConnection(Connection):
    """A greeted connection to the parent in a container: one homeserver, its port and its folder there."""

    def __init__(self, address: Address, opened: socket.socket) -> None:
        super().__init__(opened)
        self.address = address
        self.version = ""
        self._number = 0

    @classmethod
    def open(cls, address: Address) -> RemoteConnection:
        """Connect, and wait until the parent has imported Synapse. Raises Gone, or NotWarm if that takes too long."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                connection = cls(address, socket.create_connection((address.host, address.port), ANSWER_TIMEOUT_S))
            except ConnectionError:
                raise Gone from None
            try:
                connection._greeted(deadline)
                return connection
            except EOFError:  # the engine listens already, and the parent does not yet
                connection.close()
                time.sleep(POLL_S)
            except BaseException:
                connection.close()
                raise
        raise NotWarm(f"the warm parent was not ready after {READY_TIMEOUT_S:g} s")

    def _greeted(self, deadline: float) -> None:
        self._socket.settimeout(max(0.0, deadline - time.monotonic()))
        greeting = self._await_answer()
        self.version, self._number = greeting["ready"], greeting["number"]

    def lease(self) -> int:
        """Return a port of the container for this connection's homeserver; 0 if all are taken."""
        return int(self._ask({"lease": True})["port"])

    def be_present(self) -> None:
        """Keep the parent alive as long as this connection is open."""
        self._tell({"present": True})

    def fork(
        self,
        command: Command,
        env: Mapping[str, str],
        log: IO[bytes],
        held: tuple[int, ...],
        gate: int | None,
        *,
        files: bytes = b"",
    ) -> Child:
        """Start `command` in its folder in the container; `files` is a tar of what to put there. See `process.Start`.

        The environment is the container's. Nothing there outlives its connection, so no gate is waited at.
        """
        output = self._lend()
        try:
            answer = self._ask({"argv": command.argv[2:], "cwd": str(command.cwd)}, files)
        except BaseException:
            output.close()
            raise
        self._socket.setblocking(False)
        return Remote(self, int(answer["pid"]), Copier(output, os.dup(log.fileno())))

    def copy(self, folder: str) -> Iterator[bytes]:
        """Yield a folder of the container as a tar. This connection's homeserver is stopped first, by SIGSTOP."""
        with closing(RemoteConnection.open(self.address)) as other:
            yield from other.fetch(folder, freeze=self._number)

    def fetch(self, folder: str, *, freeze: int = 0) -> Iterator[bytes]:
        """Yield a folder of the container as a tar. Nothing may run on this connection."""
        with self._lend() as output:
            output.settimeout(ANSWER_TIMEOUT_S)
            self._ask({"argv": FETCH, "cwd": folder, "freeze": freeze})
            while chunk := output.recv(1 << 16):
                yield chunk
        self._await_answer()

    def signal(self, number: int) -> None:
        """Send a signal to the homeserver, and to all that it has started."""
        self._tell({"signal": number})
        self._socket.setblocking(False)

    def end_parent(self) -> bool:
        """End the parent, and with it the container, unless others use it; return whether it ends."""
        try:
            return bool(self._ask({"end": True})["ends"])
        except (EOFError, OSError):  # it has ended by itself meanwhile
            return True

    def _lend(self) -> socket.socket:
        """Open a connection for the output of what this one starts next."""
        lent = RemoteConnection.open(self.address)
        lent._ask({"lend_to": self._number})
        lent._socket.settimeout(None)
        return lent._socket

    def _ask(self, request: Mapping[str, Any], files: bytes = b"") -> dict[str, Any]:
        self._tell(request, files)
        return self._await_answer()

    def _tell(self, request: Mapping[str, Any], files: bytes = b"") -> None:
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        line = {**request, "secret": self.address.secret, "bytes": len(files)}
        self._socket.sendall(json.dumps(line).encode() + b"\n" + files)

    def _await_answer(self) -> dict[str, Any]:
        while (answer := self.next_answer()) is None:
            pass
        return answer


class Copier(threading.Thread):
    """Copies the output of a homeserver to a file until it ends, however much that is: a full pipe would stop it."""

    def __init__(self, output: socket.socket, log: int) -> None:
        super().__init__(name="greenroom-warm-log", daemon=True)
        self._output = output
        self._log = log
        self.start()

    def run(self) -> None:
        """Copy."""
        with self._output, suppress(OSError), open(self._log, "wb", buffering=0) as log:
            while chunk := self._output.recv(1 << 16):
                log.write(chunk)


class Remote(Forked):
    """A homeserver that the parent in a container has forked. Its pid is one of the container's."""

    _connection: RemoteConnection

    def __init__(self, connection: RemoteConnection, pid: int, copier: Copier) -> None:
        super().__init__(connection, pid)
        self._copier = copier

    def signal(self, number: int) -> None:
        """Send a signal to it, and to all that it has started."""
        with suppress(OSError):  # it has ended with its parent; `poll` tells
            self._connection.signal(number)

    def _is_gone(self) -> bool:
        return True  # its port and its data were the container's

    def _end(self) -> None:
        self._copier.join(LOG_TIMEOUT_S)  # so that whoever hears of the end reads the whole log


class RemoteProcess(ManagedProcess):
    """A homeserver forked in a container, with its log on this machine."""

    _child: Remote | None

    def signal(self, number: signal.Signals) -> None:
        if self._child is not None and self.is_running():
            self._child.signal(number)

    def _note(self, child: Child) -> None:
        """Note nothing: its end is that of its connection, and its pid here is somebody else's."""
