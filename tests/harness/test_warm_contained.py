"""What goes over the wire to the warm parent in a container, with a parent that imports nothing."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from greenroom.homeserver.container.archive import pack, unpack
from greenroom.homeserver.warm.remote import Address, Gone, RemoteConnection, RemoteProcess
from greenroom.processes.process import Command
from greenroom.waiting import until

SECRET = "a-secret"
POOL = [21, 22]  # nobody listens on them here

# A parent whose homeservers are the lines of Python in their argv.
PARENT = """
import json, socket, sys
from greenroom.homeserver.warm.contained import ContainedParent, or_fetch

options = json.loads(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
run = or_fetch(lambda request: exec(request["argv"][0]))
ContainedParent(listener, {"ready": "1"}, run, **options).serve()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A parent in a process of its own, which ends half a second after its last connection."""
    options = json.dumps({"secret": SECRET, "pool": POOL, "idle_s": 0.5})
    with subprocess.Popen([sys.executable, "-c", PARENT, options], stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


@pytest.fixture
def address(parent) -> Address:
    """Where it listens."""
    assert parent.stdout is not None
    return Address("127.0.0.1", int(parent.stdout.readline()), SECRET)


class Scene:
    """One homeserver on one connection: a line of Python that runs in a folder of its own."""

    def __init__(self, address: Address, tmp_path: Path, name: str = "one") -> None:
        self.connection = RemoteConnection.open(address)
        self.folder = tmp_path / "container" / name
        self.folder.parent.mkdir(exist_ok=True)
        self.log = tmp_path / f"{name}.log"
        self.process = self.python("pass")

    def python(self, code: str) -> RemoteProcess:
        return RemoteProcess(Command("child", ["python", "-m", code], self.folder, {}, self.log))

    async def run(self, code: str, files: dict[str, bytes] | None = None) -> int | None:
        """Run some code to its end; return its exit code."""
        self.start(code, files)
        return await self.process.wait(10)

    def start(self, code: str, files: dict[str, bytes] | None = None) -> None:
        self.process = self.python(code)
        packed = pack("", files, uid=0, gid=0) if files else b""
        self.process.spawn(partial(self.connection.fork, files=packed))


@pytest.fixture
def scene(address, tmp_path) -> Iterator[Scene]:
    scene = Scene(address, tmp_path)
    yield scene
    scene.connection.close()


async def test_files_go_in_and_the_log_and_the_exit_code_come_out(scene):
    """More than the buffers in between hold, in both directions."""
    files = {"small": b"s", "media/large": bytes(range(256)) * 20_000}
    code = "print('x' * 40_000_000); print(len(open('media/large', 'rb').read())); raise SystemExit(7)"

    assert await scene.run(code, files) == 7

    lines = scene.log.read_text().splitlines()
    assert [len(lines[0]), *lines[1:]] == [40_000_000, str(256 * 20_000)]
    assert scene.process.status() == "ended with exit code 7"


def test_whoever_hears_of_the_end_has_the_whole_log(scene):
    """The status and the log come over two connections, and the status may be the quicker one."""
    scene.start("print('x' * 5_000_000)")

    while scene.process.is_running():
        pass

    assert scene.log.stat().st_size == 5_000_001


async def test_it_may_be_started_again_with_its_port_and_its_folder(scene):
    """Both are kept as long as the connection is open, also while nothing runs."""
    port = scene.connection.lease()
    await scene.run("open('kept', 'w').write('data')")

    assert await scene.run("print(open('kept').read())") == 0
    assert "data" in scene.log.read_text()
    assert scene.connection.lease() == port


async def test_its_folder_can_be_fetched(scene, tmp_path):
    """As a tar of the folder, like the engine's own."""
    await scene.run("open('made', 'w').write('data' * 100_000)", {"media/given": b"given"})

    target = tmp_path / "fetched"
    names = unpack(scene.connection.fetch(str(scene.folder)), target)

    assert sorted(names) == ["made", "media/given"]
    assert (target / "made").read_text() == "data" * 100_000
    assert await scene.run("print('afterwards')") == 0


async def test_its_folder_can_be_copied_while_it_runs(scene, tmp_path):
    """It is frozen then, so that the copy shows one moment. The folder stays."""
    scene.start("import time\nfor n in range(10**9): open('made', 'w').write(str(n)); print(n, flush=True)")
    await until(lambda: "100" in scene.process.log_text(), "it to run", every_s=0.01)

    unpack(scene.connection.copy(str(scene.folder)), tmp_path / "copied")

    assert state(scene.process.pid) == "T"
    assert (tmp_path / "copied" / "made").read_text() == (scene.folder / "made").read_text()
    scene.process.resume()
    await until(lambda: state(scene.process.pid) in "RSD", "it to go on", every_s=0.01)


async def test_a_second_one_on_the_same_connection_ends_both(scene):
    """The parent would lose sight of the first."""
    scene.start("import time; time.sleep(60)")
    pid = scene.process.pid

    with pytest.raises(EOFError):
        scene.connection.fork(scene.process.command, {}, io.BytesIO(), (), None)

    await until(lambda: not alive(pid), "it to end", timeout_s=5, every_s=0.01)


async def test_a_signal_reaches_what_it_has_started(scene, tmp_path):
    """A stop and a kill are for its whole group; the status names the signal."""
    child = tmp_path / "child"
    start = "import subprocess, time; child = subprocess.Popen(['sleep', '60'])"
    code = f"{start}; open({str(child)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    scene.start(code)
    await until(lambda: child.exists() and child.read_text() != "", "the grandchild", every_s=0.01)
    grandchild = int(child.read_text())

    assert await scene.process.kill() == -signal.SIGKILL

    assert scene.process.status() == "stopped on request (signal SIGKILL)"
    await until(lambda: not alive(grandchild), "the grandchild to end", timeout_s=5, every_s=0.01)


async def test_a_paused_one_continues(scene):
    """SIGSTOP and SIGCONT, as on this machine."""
    scene.start("import time\nwhile True: print('tick', flush=True); time.sleep(0.01)")
    await until(lambda: "tick" in scene.process.log_text(), "a tick", every_s=0.01)

    scene.process.pause()
    await until(lambda: state(scene.process.pid) == "T", "it to stop", every_s=0.01)
    scene.process.resume()
    await until(lambda: state(scene.process.pid) in "SR", "it to go on", every_s=0.01)

    assert scene.process.is_running()
    assert await scene.process.stop() == -signal.SIGTERM


async def test_a_closed_connection_ends_it_and_frees_its_port_and_folder(address, tmp_path):
    """So does the death of its client: the kernel closes the connection."""
    first, second = Scene(address, tmp_path, "first"), Scene(address, tmp_path, "second")
    assert {first.connection.lease(), second.connection.lease()} == set(POOL)
    first.start("import time; time.sleep(60)")
    pid = first.process.pid
    third = RemoteConnection.open(address)
    assert third.lease() == 0

    first.connection.close()

    await until(lambda: not alive(pid), "it to end", timeout_s=5, every_s=0.01)
    await until(lambda: not first.folder.exists(), "its folder to go", timeout_s=5, every_s=0.01)
    assert third.lease() in POOL
    for connection in (second.connection, third):
        connection.close()


@pytest.mark.parametrize(
    "words",
    [
        b'{"lease": true}\n',
        b'{"lease": true, "secret": "wrong"}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"[1]\n",
        b"x" * 2_000_000,
    ],
    ids=["no secret", "a wrong one", "a browser", "no request", "endless"],
)
async def test_strangers_are_sent_away(address, scene, words):
    """Anybody on the machine can connect. They get the greeting and nothing else, and the parent goes on."""
    with socket.create_connection((address.host, address.port), 5) as stranger:
        answers = b""
        try:
            stranger.sendall(words)
            while more := stranger.recv(1 << 12):
                answers += more
        except ConnectionError:  # sent away with something unread
            pass

    assert answers in (b"", b'{"ready": "1", "number": 2}\n')
    assert await scene.run("print('well')") == 0


def test_it_ends_by_itself_when_nobody_is_there(parent, address):
    """A connection keeps it alive, also one that has nothing running; some time after the last one it ends."""
    present = RemoteConnection.open(address)
    present.be_present()
    with pytest.raises(subprocess.TimeoutExpired):
        parent.wait(1)

    present.close()

    assert parent.wait(5) == 0
    with pytest.raises(Gone):
        RemoteConnection.open(address)


def test_it_ends_on_request_unless_somebody_else_uses_it(parent, address):
    """The last one to go ends it at once."""
    one, other = RemoteConnection.open(address), RemoteConnection.open(address)
    other.be_present()
    assert one.end_parent() is False
    assert parent.poll() is None

    assert other.end_parent() is True

    assert parent.wait(5) == 0
    one.close()
    other.close()


async def test_the_end_of_the_parent_is_the_end_of_what_runs(parent, scene):
    """It is reported as a death by SIGKILL, which it is."""
    scene.start("import time; time.sleep(60)")
    pid = scene.process.pid

    parent.kill()

    assert await scene.process.wait(5) == -signal.SIGKILL
    await until(lambda: not alive(pid), "it to end", timeout_s=5, every_s=0.01)


def state(pid: int) -> str:
    """Return the letter of proc(5) for what a process does; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return state(pid) not in ("", "Z")
