"""One supervised child process: start it with its log, stop, kill or pause it, start it again.

Waiting is polling. No event loop's child watcher is used, so a process that was started on one loop (a session
fixture's) can be awaited on another (a test's).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from greenroom.errors import Died, StartFailed
from greenroom.processes.procfs import identify
from greenroom.processes.runs import NO_RUN, Run

LAUNCHER = Path(__file__).with_name("launcher.py")
POLL_S = 0.01


@dataclass(frozen=True)
class Command:
    """What to run. `env` is the whole environment of the child, except the mark of its run."""

    name: str
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    log_path: Path
    dies_with_parent: bool = True
    lock: Path | None = None  # a file that at most one living process holds: this one, until it has ended


class Child(Protocol):
    """A process that was started, as subprocess.Popen has it."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""

    def wait(self, timeout: float) -> int:
        """Wait for the end, and return the exit code. Raises subprocess.TimeoutExpired."""


Start = Callable[[Command, Mapping[str, str], IO[bytes], tuple[int, ...], int | None], Child]
"""Starts a command in a session of its own, with this environment, log, and descriptors to hold open.

The last argument is the gate of a process that outlives its parent: it begins when a byte arrives over that pipe, and
never if the pipe ends before.
"""


class ManagedProcess:
    """A child process in a session of its own. Both its outputs are appended to one log file."""

    def __init__(self, command: Command, *, run: Run = NO_RUN) -> None:
        self.command = command
        self._run = run
        self._child: Child | None = None
        self._log_start = 0
        self._expected_end = False

    def spawn(self, start: Start | None = None) -> None:
        """Start the process, by default as a child of ours. From now on `log_text()` returns what this start logs."""
        if self.is_running():
            raise RuntimeError(f"{self.command.name} is running already")
        self.command.log_path.parent.mkdir(parents=True, exist_ok=True)
        env = {**self.command.env, **self._run.environment}
        with self.command.log_path.open("ab") as log, self._locked() as held, _gate() as (gate, open_it):
            self._log_start = log.tell()
            self._child = (start or _popen)(
                self.command, env, log, held, None if self.command.dies_with_parent else gate
            )
            self._expected_end = False
            self._note(self._child)
            open_it()
        self._happened(f"started (pid {self._child.pid})")

    def _happened(self, what: str) -> None:
        self._run.happened(self.command.log_path, what)

    def _note(self, child: Child) -> None:
        """Note the process in the manifest of its run."""
        with suppress(ProcessLookupError):  # it ended at once; `check_alive` reports that
            self._run.started(self.command.name, identify(child.pid))

    @contextmanager
    def _locked(self) -> Iterator[tuple[int, ...]]:
        """Take the lock and yield its descriptor for the child to inherit; the end of the child frees the lock."""
        if self.command.lock is None:
            yield ()
            return
        with self.command.lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                problem = f"another one runs on the data in {self.command.lock.parent}"
                raise StartFailed(self.command.name, problem, hint="stop that one first") from None
            yield (lock.fileno(),)

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        if self._child is None:
            raise RuntimeError(f"{self.command.name} was never started")
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs and before its first start."""
        return None if self._child is None else self._child.poll()

    def is_running(self) -> bool:
        """Return whether the process runs. A paused process does."""
        return self._child is not None and self._child.poll() is None

    def check_alive(self) -> None:
        """Raise Died, with the last log lines, if the process has ended, whether by itself or on request."""
        __tracebackhide__ = True
        if not self.is_running():
            raise Died(self.command.name, self.status(), log_path=self.command.log_path, tail=self.tail())

    @property
    def ended_on_request(self) -> bool:
        """Whether we have asked the latest start to end."""
        return self._expected_end

    @property
    def run_id(self) -> str:
        """The run that the process was started for."""
        return self._run.run_id

    def status(self) -> str:
        """Return in words whether the process runs, or how it ended."""
        code = self.returncode
        if self._child is None:
            return "never started"
        if code is None:
            return "running"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"stopped on request ({how})" if self._expected_end else f"ended with {how}"

    def log_text(self) -> str:
        """Return what this start has logged so far."""
        with self.command.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of this start's log."""
        try:
            return self.log_text().splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def _end(self, how: str, number: signal.Signals) -> None:
        if self.is_running():
            self._happened(how)
        self._expected_end = True
        self.signal(number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to everything that it has started in its session."""
        if not self.is_running():
            return
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # between setsid and exec, or just gone
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, timeout_s: float = 10.0) -> int | None:
        """Send SIGTERM, and SIGKILL after `timeout_s`; return the exit code."""
        self._end("stopped with SIGTERM", signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a paused process would not see its SIGTERM
        if not await self._ended_within(timeout_s):
            await self.kill()
        return self.returncode

    async def kill(self) -> int | None:
        """End the process with SIGKILL, as a crash would; return the exit code."""
        self._end("killed with SIGKILL", signal.SIGKILL)
        await self._ended_within(10.0)
        return self.returncode

    def kill_now(self) -> None:
        """End the process with SIGKILL, without an event loop: the last resort of a clean-up."""
        self._end("killed with SIGKILL", signal.SIGKILL)
        if self._child is not None:
            self._child.wait(timeout=10)

    def pause(self) -> None:
        """Freeze the process with SIGSTOP: it keeps its connections and answers nothing."""
        self._happened("frozen with SIGSTOP")
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a paused process."""
        self._happened("continued with SIGCONT")
        self.signal(signal.SIGCONT)

    async def wait(self, timeout_s: float) -> int | None:
        """Wait until the process ends by itself; return its exit code, or None if it still runs after `timeout_s`."""
        await self._ended_within(timeout_s)
        return self.returncode

    async def _ended_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True


@contextmanager
def _gate() -> Iterator[tuple[int, Callable[[], object]]]:
    """Yield what a process can wait at, and how to let it pass. It never will if we end before."""
    entrance, key = os.pipe()
    try:
        yield entrance, partial(os.write, key, b".")
    finally:
        os.close(entrance)
        os.close(key)


def _popen(command: Command, env: Mapping[str, str], log: IO[bytes], held: tuple[int, ...], gate: int | None) -> Child:
    how = ("with", str(os.getpid())) if gate is None else ("after", str(gate))
    argv = [sys.executable, "-I", "-S", str(LAUNCHER), *how, *command.argv]

    def start() -> Child:
        return subprocess.Popen(
            argv,
            cwd=command.cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal reaches only us, and we stop our children
            pass_fds=held if gate is None else (*held, gate),
        )

    try:
        return _in_lasting_thread(start)
    except OSError as error:
        raise StartFailed(command.name, f"cannot run {argv[0]}: {error.strerror}") from error


_spawner: ThreadPoolExecutor | None = None


def _in_lasting_thread(work: Callable[[], Child]) -> Child:
    """Run `work` on a thread that lasts as long as this process.

    The kernel sends the parent-death signal when the *thread* that forked ends (prctl(2)), so a child started on a
    passing worker thread would be killed early.
    """
    if threading.current_thread() is threading.main_thread():
        return work()
    global _spawner
    _spawner = _spawner or ThreadPoolExecutor(max_workers=1, thread_name_prefix="greenroom-spawn")
    return _spawner.submit(work).result()
