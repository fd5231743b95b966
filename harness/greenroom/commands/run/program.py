"""The program of `greenroom run`: it has the terminal, and gets the signals that this process gets."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from greenroom.errors import Misuse
from greenroom.processes.process import LAUNCHER
from greenroom.processes.procfs import identify
from greenroom.processes.runs import Run

NAME = "command"
FROM_A_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def command_of(argv: Sequence[str]) -> tuple[str, ...]:
    """Return what stands behind the first `--` of a command line, word by word. Raises Misuse if nothing does.

    invoke has it too, but as one text, in which words with blanks cannot be told apart.
    """
    words = tuple(argv[argv.index("--") + 1 :]) if "--" in argv else ()
    if not words:
        raise Misuse("name the command to run behind `--`, as in: run -- sh -c 'curl $MATRIX_HOMESERVER'")
    return words


def check_exists(argv: Sequence[str]) -> None:
    """Raise Misuse unless a command line begins with a program that can be run."""
    if shutil.which(argv[0]) is None:
        why = "is not executable" if os.path.isfile(argv[0]) else "does not exist"
        raise Misuse(f"the command {argv[0]!r} {why}")


class Program:
    """A program that uses the standard input and output of this process, and dies with it.

    It stays in this process group, so that a terminal treats both as one job: Ctrl-C and Ctrl-Z reach both.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = tuple(argv)
        self._popen: subprocess.Popen[bytes] | None = None

    def spawn(self, environment: Mapping[str, str], run: Run) -> None:
        """Start the program. Call this on the main thread, whose end would be the program's."""
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), "with", str(os.getpid()), *self.argv],
            env={**environment, **run.environment},
        )
        with suppress(ProcessLookupError):  # it has ended already
            run.started(NAME, identify(self._popen.pid))

    @property
    def spawned(self) -> bool:
        """Whether the program was started."""
        return self._popen is not None

    async def ended(self) -> int:
        """Wait for the program's end. Return its exit code as a shell does: 128 and the number of a signal."""
        assert self._popen is not None, "spawn() comes first"
        code = await asyncio.to_thread(self._popen.wait)
        return code if code >= 0 else 128 - code

    def pass_on(self, number: signal.Signals) -> None:
        """Send the program a signal that this process got, unless the terminal has sent it to both."""
        assert self._popen is not None, "spawn() comes first"
        if not (number in FROM_A_TERMINAL and _has_terminal()):
            self._popen.send_signal(number)


def _has_terminal() -> bool:
    """Return whether this process group is in the foreground of a terminal, which then sends Ctrl-C to all of it."""
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
