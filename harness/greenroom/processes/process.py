"""One supervised child process: started with its log, stopped, killed, paused, started again.

It waits by polling and never touches an event loop's child watcher, so a process started on one loop (a session
fixture's) can be awaited on another (a test's).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from greenroom.errors import Died, StartFailed
from greenroom.processes.procfs import ProcessIdentity, identify
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


class ManagedProcess:
    """A child process in a session of its own, both its outputs appended to one log file."""

    def __init__(self, command: Command, *, run: Run = NO_RUN) -> None:
        self.command = command
        self._run = run
        self._popen: subprocess.Popen[bytes] | None = None
        self._identity: ProcessIdentity | None = None
        self._log_start = 0
        self._expected_end = False

    def spawn(self) -> None:
        """Start the process; its log of this start begins at `log_text()`'s start."""
        if self.is_running():
            raise RuntimeError(f"{self.command.name} is running already")
        self.command.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.command.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._popen = _in_lasting_thread(lambda: self._open(log))
        self._expected_end = False
        try:
            self._identity = identify(self._popen.pid)
        except ProcessLookupError:  # ended at once; `check_alive` will tell
            self._identity = None
        if self._identity:
            self._run.started(self.command.name, self._identity)

    def _open(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        argv = list(self.command.argv)
        if self.command.dies_with_parent:
            argv = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *argv]
        try:
            return subprocess.Popen(
                argv,
                cwd=self.command.cwd,
                env={**self.command.env, **self._run.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for us to pass on, in our order
            )
        except OSError as error:
            raise StartFailed(self.command.name, f"cannot run {argv[0]}: {error.strerror}") from error

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        if self._popen is None:
            raise RuntimeError(f"{self.command.name} was never started")
        return self._popen.pid

    @property
    def identity(self) -> ProcessIdentity | None:
        """Pid and start time of the latest start; None if it ended before it could be looked at."""
        return self._identity

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs (or before the first start)."""
        return None if self._popen is None else self._popen.poll()

    def is_running(self) -> bool:
        """Say whether the process is there (a paused one is)."""
        return self._popen is not None and self._popen.poll() is None

    def check_alive(self) -> None:
        """Raise Died, with the last log lines, if the process ended; also if it was stopped or killed on request."""
        __tracebackhide__ = True
        if not self.is_running():
            raise Died(self.command.name, self.status(), log_path=self.command.log_path, tail=self.tail())

    def status(self) -> str:
        """Say in words how it is or how it ended."""
        code = self.returncode
        if self._popen is None:
            return "never started"
        if code is None:
            return "running"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"stopped on request ({how})" if self._expected_end else f"ended with {how}"

    def log_text(self) -> str:
        """Read what this start has logged so far."""
        with self.command.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 15) -> list[str]:
        """Give the last lines of this start's log."""
        try:
            return self.log_text().splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to whatever it started in its session."""
        if not self.is_running():
            return
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # between setsid and exec, or just gone
            assert self._popen is not None
            self._popen.send_signal(number)

    async def stop(self, timeout_s: float = 10.0) -> int | None:
        """Ask with SIGTERM, insist with SIGKILL after `timeout_s`; give the exit code."""
        self._expected_end = True
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a paused process would not see its SIGTERM
        if not await self._ended_within(timeout_s):
            await self.kill()
        return self.returncode

    async def kill(self) -> int | None:
        """End it with SIGKILL, as a crash would; give the exit code."""
        self._expected_end = True
        self.signal(signal.SIGKILL)
        await self._ended_within(10.0)
        return self.returncode

    def kill_now(self) -> None:
        """End it with SIGKILL without an event loop: the last resort of a clean-up."""
        self._expected_end = True
        self.signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait(timeout=10)

    def pause(self) -> None:
        """Freeze it with SIGSTOP: it holds its connections and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self.signal(signal.SIGCONT)

    async def wait(self, timeout_s: float) -> int | None:
        """Wait for it to end by itself; None if it still runs after `timeout_s`."""
        await self._ended_within(timeout_s)
        return self.returncode

    async def _ended_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True


_spawner: ThreadPoolExecutor | None = None


def _in_lasting_thread(work: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Run `work` on a thread that lasts as long as this process.

    The kernel sends the parent-death signal when the *thread* that forked ends (prctl(2)), so a child started on a
    passing worker thread would be killed early.
    """
    if threading.current_thread() is threading.main_thread():
        return work()
    global _spawner
    _spawner = _spawner or ThreadPoolExecutor(max_workers=1, thread_name_prefix="greenroom-spawn")
    return _spawner.submit(work).result()
