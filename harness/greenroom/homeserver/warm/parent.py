"""A process that has imported Synapse, and forks homeservers from itself, each in a tenth of the time of a start.

It runs as a script, `parent.py SOCKET LIFELINE FOLDER`, with only Synapse and the standard library. It has one thread
and runs no reactor, so a fork finds nothing half-done. SOCKET and LIFELINE are descriptors that it inherits: a Unix
socket that listens already, and a pidfd of the process that all this is for. Each homeserver is one connection:

- the parent greets it with {"ready": VERSION}, once Synapse is imported;
- the client sends one line of JSON, {"argv", "cwd", "env", "ports"}, and with it the descriptors of the log and of all
  that the homeserver shall hold open. A homeserver that is to listen on port 0 takes a free one of `ports`;
- with "outlives" the homeserver ends neither with the connection nor with the parent. It begins when a byte arrives
  over the last of its descriptors, a pipe, and never if that ends before;
- the answer is {"pid": N}, and {"status": N} when the homeserver has ended (negative: by that signal);
- a client that closes the connection, or dies, ends any other homeserver.

The parent ends with the process of LIFELINE, or when a client sends {"end": true} and no other has a homeserver that
needs the parent. It removes FOLDER first. Its end, however it comes, is the end of all homeservers that do not outlive
it (prctl(2), PR_SET_PDEATHSIG).

`contained.py` beside this file serves in a container, over TCP.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import importlib
import json
import logging
import os
import random
import selectors
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
LINE_BYTES = 1 << 20  # of one request: an environment is far smaller
PROGRAMS = ("synapse.app.homeserver", "synapse._scripts.update_synapse_database")
Message = dict[str, Any]


@dataclass(eq=False)
class Client:
    """A connection: first its request arrives, then its homeserver runs."""

    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    limit_bytes: int = LINE_BYTES
    descriptors: list[int] = field(default_factory=list)
    pid: int = 0
    pidfd: int = -1
    outlives: bool = False
    # Of those over TCP only (`contained.py`):
    number: int = 0
    trusted: bool = False
    request: Message | None = None  # whose files are still arriving
    port: int = 0
    folder: str = ""


class Parent:
    """Accepts requests until its lifeline ends. `run` is what a child does with its request."""

    def __init__(
        self, listener: socket.socket, lifeline: int | None, greeting: Message, run: Callable[[Message], None]
    ) -> None:
        self._listener = listener
        self._greeting = greeting
        self._run = run
        self._pid = os.getpid()
        self._clients: list[Client] = []
        self._ended = False
        self._selector = selectors.DefaultSelector()
        if lifeline is not None:
            self._selector.register(lifeline, selectors.EVENT_READ, self._end)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Answer requests until the end; then end every homeserver."""
        while not self._ended:
            ready = self._selector.select(self._patience_s())
            for key, _ in ready:
                key.data()
            if not ready:
                self._end()
        for client in [client for client in self._clients if client.pid and not client.outlives]:
            self._drop(client)

    def _patience_s(self) -> float | None:
        """Return how long to wait for the next thing to do before the end; None: for ever."""
        return None

    def _end(self) -> None:
        self._ended = True

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        client = Client(connection)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._receive(client))
        self._greet(client)

    def _greet(self, client: Client) -> None:
        send(client.connection, self._greeting)

    def _receive(self, client: Client) -> None:
        if client not in self._clients:  # dropped in this round
            return
        try:
            data, descriptors, _, _ = socket.recv_fds(client.connection, 1 << 16, 8)
        except OSError:
            data, descriptors = b"", []
        client.descriptors += descriptors
        client.received += data
        if not data or len(client.received) > client.limit_bytes:
            self._drop(client)
        else:
            self._take(client)

    def _take(self, client: Client) -> None:
        """Answer the request of a connection, once all of it is there."""
        if client.received.endswith(b"\n") and not client.pid:
            self._answer(client, json.loads(client.received))

    def _answer(self, client: Client, request: Message) -> None:
        if "end" in request:
            self._ended = all(other is client or other.outlives for other in self._clients)
            if not self._ended:
                self._drop(client)
            return
        self._fork(client, request)

    def _fork(self, client: Client, request: Message) -> None:
        client.outlives = bool(request.get("outlives"))
        client.pid = os.fork()
        if client.pid == 0:
            self._become(client, request)
        _close(client.descriptors)
        client.pidfd = os.pidfd_open(client.pid)
        self._selector.register(client.pidfd, selectors.EVENT_READ, lambda: self._reap(client))
        send(client.connection, {"pid": client.pid})

    def _reap(self, client: Client) -> None:
        if client.pidfd < 0:  # dropped in this round
            return
        _, status = os.waitpid(client.pid, 0)
        self._forget_process(client)
        send(client.connection, {"status": os.waitstatus_to_exitcode(status)})
        self._after(client)

    def _after(self, client: Client) -> None:
        """Do what remains when a homeserver has ended."""
        self._drop(client)

    def _signal(self, client: Client, number: int) -> None:
        """Send a signal to a running homeserver and all that it has started."""
        with suppress(ProcessLookupError):  # before its setsid it leads no group
            os.killpg(client.pid, number)
            return
        os.kill(client.pid, number)

    def _drop(self, client: Client) -> None:
        """End a connection, and its homeserver with all that it has started, unless that outlives it."""
        if client.pidfd >= 0 and not client.outlives:
            self._signal(client, signal.SIGKILL)
            os.waitpid(client.pid, 0)
            self._forget_process(client)
        _close(client.descriptors)
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.connection)
            client.connection.close()

    def _forget_process(self, client: Client) -> None:
        self._selector.unregister(client.pidfd)
        os.close(client.pidfd)
        client.pidfd = -1

    def _become(self, client: Client, request: Message) -> NoReturn:
        """Be the homeserver that the client has asked for: the child's side of the fork."""
        status = 1
        try:
            os.setsid()
            if not client.outlives:
                _die_with(self._pid)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            for other in (self._listener, *(one.connection for one in self._clients)):
                other.detach()  # closed below; an object that closed it again would hit another file
            _keep_only(client.descriptors)
            if client.outlives and not os.read(client.descriptors[-1], 1):
                os._exit(1)
            os.chdir(request["cwd"])
            os.environ.clear()
            os.environ.update(request["env"])
            _appear([sys.executable, "-m", *request["argv"]], request["env"])
            random.seed()  # or all homeservers would draw the same numbers
            self._run(request)
            status = 0
        except SystemExit as end:
            status = _exit_code(end)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)  # past the interpreter's own end, which would take ten times as long


def send(connection: socket.socket, answer: Message) -> None:
    with suppress(OSError):  # the client has gone; the next turn notices
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _appear(arguments: list[str], environment: dict[str, str]) -> None:
    """Put these where /proc, and so `ps`, has the parent's. A run's processes are found by their environment."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    arguments_start, arguments_end, start, end = map(int, fields[45:49])  # proc(5): arg_start to env_end
    _write(b"\0".join(map(os.fsencode, arguments)), arguments_start, arguments_end)
    block = b""
    for name in sorted(environment, key=lambda name: not name.startswith("GREENROOM")):  # ours for certain
        entry = os.fsencode(f"{name}={environment[name]}") + b"\0"
        block += entry if len(block) + len(entry) < end - start else b""
    _write(block, start, end)


def _write(block: bytes, start: int, end: int) -> None:
    size = end - start
    ctypes.memmove(start, block[: size - 1].ljust(size, b"\0"), size)


def _keep_only(descriptors: list[int]) -> None:
    """Make the first descriptor both outputs and nothing the input; close all but those and the other descriptors."""
    log, *held = descriptors
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in held:
            with suppress(OSError):  # the listing's own
                os.close(int(name))


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def spare_repetition() -> None:
    """Do once, in the parent, what every start does alike to the same texts of Synapse's own. It is half of a start."""
    import jinja2
    import jsonschema
    import yaml
    from synapse.config.homeserver import HomeServerConfig

    compiled: dict[tuple[object, ...], Any] = {}
    compile_template = jinja2.Environment.compile

    def compile_once(environment: jinja2.Environment, *text: Any, **more: Any) -> Any:
        key = (*text, *more.items())
        if key not in compiled:
            compiled[key] = compile_template(environment, *text, **more)
        return compiled[key]

    jinja2.Environment.compile = compile_once  # type: ignore[method-assign,assignment]
    # It checks the schema and not what the schema is for; those of Synapse are right.
    jsonschema.Draft202012Validator.check_schema = staticmethod(lambda schema, **_: None)
    if yaml.__with_libyaml__:
        yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc,assignment]
    seed = base64.b64encode(bytes(32)).decode().rstrip("=")
    sample = {"server_name": "sample", "report_stats": False, "signing_key": f"ed25519 a_0 {seed}"}
    HomeServerConfig().parse_config_dict(sample, config_dir_path=".", data_dir_path=".")


def import_synapse() -> Callable[[Message], None]:
    """Import what a homeserver needs, without a reactor; return what runs one in a child."""
    from synapse.app.complement_fork_proxied_reactor import ProxiedReactor  # made for this by Synapse's own tests
    from twisted.internet.main import installReactor

    proxied = ProxiedReactor()
    installReactor(proxied)
    programs = {name: importlib.import_module(name) for name in PROGRAMS}

    spare_repetition()

    from twisted.internet.epollreactor import EPollReactor
    from twisted.internet.error import CannotListenError

    class Reactor(EPollReactor):
        ports: tuple[int, int] = (0, 1)

        def listenTCP(self, port: int, *arguments: Any, **options: Any) -> Any:  # noqa: N802 - Twisted's name
            if port:
                return super().listenTCP(port, *arguments, **options)
            choices = random.SystemRandom().sample(range(*self.ports), 50)
            for number, choice in enumerate(choices):
                try:
                    return super().listenTCP(choice, *arguments, **options)
                except CannotListenError:
                    if number == len(choices) - 1:
                        raise
            raise AssertionError("there are choices")

    def run(request: Message) -> None:
        reactor = Reactor()
        reactor.ports = tuple(request.get("ports", Reactor.ports))
        proxied._install_real_reactor(reactor)
        sys.argv = request["argv"]
        programs[sys.argv[0]].main()

    return run


def prepare() -> tuple[Message, Callable[[Message], None]]:
    """Import Synapse; return the greeting and what a child does. Exits if a fork would not be safe now."""
    import synapse

    run = import_synapse()
    tasks = os.listdir("/proc/self/task")
    if len(tasks) > 1:
        sys.exit(f"{len(tasks)} threads after importing Synapse: a fork would not be safe")
    gc.collect()
    gc.freeze()
    return {"ready": synapse.__version__}, run


def main() -> None:
    """Import Synapse, then serve."""
    listener, lifeline, folder = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
    if os.fork():
        os._exit(0)  # so that nobody has to wait for us: our end is noticed by pid or by connection
    os.chdir(folder)  # the sample configuration makes an empty folder
    Parent(listener, lifeline, *prepare()).serve()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # the connections end now and not in the middle of the interpreter's end


if __name__ == "__main__":
    main()
