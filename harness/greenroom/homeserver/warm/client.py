"""Reach the warm parent of this run, or start it, and have it fork a homeserver.

There is one parent for each `head` (see `runs.Run`): pytest, also with `-n`, whose workers share it, or the command
`scenarios`, `run` or `dev`. The parent has a folder of its own among the runs, so whatever a crash leaves of it is
swept with them.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import IO, Any

from greenroom.errors import StartFailed
from greenroom.homeserver.settings import PORTS
from greenroom.homeserver.synapse_config import VERSION
from greenroom.processes.process import Child, Command
from greenroom.processes.procfs import ProcessIdentity, started_at
from greenroom.processes.runs import MARKER, Head, find_head, own_head

PARENT = Path(__file__).with_name("parent.py")
SWITCH = "GREENROOM_WARM"
READY_TIMEOUT_S = 60.0  # importing Synapse takes a second, and without its .pyc files five
ANSWER_TIMEOUT_S = 10.0
KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""What a parent takes from the environment of whoever starts it: no more, because others share it."""
SPARE = "GREENROOM_SPARE"  # fills the parent's environment: a homeserver writes its own there, which may be longer
SPARE_BYTES = 8 << 10
POLL_S = 0.005


class NotWarm(Exception):
    """No warm parent can be had, for the reason that the message gives; a plain start always works."""


def check_possible(environ: Mapping[str, str] = os.environ) -> None:
    """Raise NotWarm where warm starts are switched off, or were not tested: another system, another Synapse."""
    if environ.get(SWITCH) == "0":
        raise NotWarm(f"{SWITCH}=0")
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        raise NotWarm("warm starts need Linux")
    found = importlib.metadata.version("matrix-synapse")
    if found != VERSION:
        raise NotWarm(f"warm starts are tested with Synapse {VERSION}, and this is {found}")


class Connection:
    """A greeted connection to a warm parent: good for one homeserver."""

    def __init__(self, opened: socket.socket, received: bytes = b"") -> None:
        self._socket = opened
        self._received = received

    def fork(
        self, command: Command, env: Mapping[str, str], log: IO[bytes], held: tuple[int, ...], gate: int | None
    ) -> Child:
        """Start `command`, which is "python -m" and a module of Synapse's. See `process.Start`."""
        request = {
            "argv": command.argv[2:],
            "cwd": str(command.cwd),
            "env": env,
            "ports": [PORTS.start, PORTS.stop],
            "outlives": gate is not None,
        }
        held = held if gate is None else (*held, gate)
        line = json.dumps(request).encode() + b"\n"
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        try:
            sent = socket.send_fds(self._socket, [line], [log.fileno(), *held])
            self._socket.sendall(line[sent:])
            while (answer := self.next_answer()) is None:
                pass
        except (EOFError, OSError) as error:
            problem = f"the warm parent did not fork it: {type(error).__name__} {error}".rstrip()
            raise StartFailed(command.name, problem, hint=f"again, or {SWITCH}=0 for a plain start") from None
        self._socket.setblocking(False)
        return Forked(self, int(answer["pid"]))

    def next_answer(self) -> dict[str, Any] | None:
        """Return the next answer, if all of it is there. Raises EOFError if the parent has ended."""
        if b"\n" not in self._received:  # two may have come at once
            try:
                data = self._socket.recv(1 << 12)
            except BlockingIOError:
                return None
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            self._received += data
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        self._received = rest
        return dict(json.loads(line))

    async def greeted(self) -> None:
        """Wait until the parent has imported Synapse. Raises EOFError if it ends, NotWarm if it takes too long."""
        self._socket.setblocking(False)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            if self.next_answer() is not None:
                return
            if time.monotonic() > deadline:
                raise NotWarm(f"the warm parent was not ready after {READY_TIMEOUT_S:g} s")
            await asyncio.sleep(POLL_S)

    def end(self) -> None:
        """Ask the parent to end if nothing needs it; return when it has gone, or has said no by closing."""
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        with suppress(OSError):
            self._socket.sendall(b'{"end": true}\n')
            while self._socket.recv(1 << 12):  # its greeting, then nothing
                pass

    def close(self) -> None:
        """Close the connection: the end of its homeserver, if that still runs."""
        self._socket.close()


class Forked:
    """A homeserver that a warm parent has forked: a `process.Child`."""

    def __init__(self, connection: Connection, pid: int) -> None:
        self.pid = pid
        self._connection = connection
        self._started = started_at(pid)
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self._status is None:
            try:
                answer = self._connection.next_answer()
                self._status = int(answer["status"]) if answer else None
            except EOFError:  # the parent has ended
                self._status = -signal.SIGKILL if self._is_gone() else None
            if self._status is not None:
                self._end()
        return self._status

    def _is_gone(self) -> bool:
        """Return whether it has ended, once its parent has: only then its port and its data are free."""
        return self._started is None or started_at(self.pid) != self._started

    def _end(self) -> None:
        """Do what remains when the homeserver has ended."""
        self._connection.close()

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit code. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("homeserver", timeout)
            time.sleep(POLL_S)
        return status


async def connect(head: Head | None) -> Connection:
    """Return a connection to the warm parent for `head`, started if need be. Raises NotWarm."""
    check_possible()
    if head is None:
        raise NotWarm("no run notes the homeserver")
    folder = _folder(head)
    connection = Connection(_open(folder, head))
    try:
        await connection.greeted()
    except EOFError:
        connection.close()
        raise NotWarm(f"the warm parent has ended: {_last_words(folder)}") from None
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def begun_ahead() -> Iterator[None]:
    """Start the warm parent in a thread, unless it runs. What goes wrong shows when it is needed.

    If it is for this process, it ends with the block.
    """
    head = find_head()

    def start() -> None:
        with suppress(NotWarm):
            check_possible()
            _open(_folder(head), head).close()

    thread = Thread(target=start, name="warm parent")
    thread.start()
    try:
        yield
    finally:
        thread.join()
        end_idle_parent(own_head())


def end_idle_parent(head: Head) -> None:
    """End the warm parent for `head` if there is one and nothing needs it; remove what a killed one has left."""
    folder = _folder(head)
    try:
        connection = Connection(_dial(folder))
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        return
    connection.end()
    connection.close()


def _last_words(folder: Path) -> str:
    lines: list[str] = []
    with suppress(OSError):
        lines = (folder / "parent.log").read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it has said nothing"


def _folder(head: Head) -> Path:
    # Another environment, or another copy of Greenroom, has other modules: a parent of its own.
    which = hashlib.sha256(f"{sys.prefix} {PARENT}".encode()).hexdigest()[:8]
    return head.shared(which)


def _open(folder: Path, head: Head) -> socket.socket:
    """Connect to the parent in a folder; if none listens there, start one. Others who do the same wait meanwhile."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with locked(folder):
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return _dial(folder)
            _begin(folder, head)
            return _dial(folder)
    except OSError as error:
        raise NotWarm(f"the warm parent cannot be started: {error}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a folder of what a head's runs share. Others who want it wait."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _dial(folder: Path) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX)
    try:
        with _address(folder) as address:
            opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Yield a short path of the socket in a folder: the path of a Unix socket has at most 107 bytes (unix(7))."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/socket"
    finally:
        os.close(opened)


def _begin(folder: Path, head: Head) -> None:
    """Start a parent. It can be dialled at once; it greets when it is ready."""
    (folder / "socket").unlink(missing_ok=True)  # of a parent that was killed
    with (
        socket.socket(socket.AF_UNIX) as listener,
        (folder / "parent.log").open("ab") as log,
        _pidfd(head.process) as lifeline,
    ):
        with _address(folder) as address:
            listener.bind(address)
        listener.listen(64)
        subprocess.run(  # it leaves a child behind, the parent, and ends
            [sys.executable, "-P", str(PARENT), str(listener.fileno()), str(lifeline), str(folder)],
            env={
                **{name: os.environ[name] for name in KEPT if name in os.environ},
                "PYTHONUNBUFFERED": "1",
                "GREENROOM_RUNS_DIR": str(head.root),
                MARKER: folder.name,
                SPARE: " " * SPARE_BYTES,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(listener.fileno(), lifeline),
            check=True,
        )


@contextmanager
def _pidfd(process: ProcessIdentity) -> Iterator[int]:
    opened = os.pidfd_open(process.pid)
    try:
        if not process.is_alive():  # another has its pid
            raise ProcessLookupError(process.pid, "has ended")
        yield opened
    finally:
        os.close(opened)
