"""Output for a person: rich on a terminal, plain lines without control characters anywhere else."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from signal import SIGHUP, SIGINT, SIGTERM

from rich.console import Console
from rich.text import Text

from greenroom_reset.plan import printable

FIRST_SIGN_S, NEXT_SIGN_S = 2.0, 10.0  # when a step that still runs is printed
_STYLES = {"NOT DONE": "red", "UNVERIFIED": "yellow", "failed": "red", "Note": "yellow", "done": "green"}
_FIRST_WORDS = re.compile(r"\s*([^:,]*)")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError, where rich would exit at once. What is printed from now on goes nowhere."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise  # rich calls this while it handles the error


class Screen:
    """Prints and asks. With `json` all of it goes to stderr: stdout holds the document only."""

    def __init__(
        self,
        *,
        json: bool,
        console: Console | None = None,
        interactive: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.console = console or _Console(stderr=json, highlight=False, soft_wrap=True)
        self.interactive = sys.stdin.isatty() if interactive is None else interactive
        self._clock, self._sleep = clock, sleep

    def lines(self, lines: Iterable[str]) -> None:
        """Print each as one line without control characters. On a terminal headings are bold and failures red."""
        for line in lines:
            style = _STYLES.get(_FIRST_WORDS.match(line)[1], "" if line.startswith(" ") else "bold")  # type: ignore[index]
            self.console.print(Text(printable(line), style=style))

    def confirmed(self, question: str) -> bool:
        """Ask a yes-or-no question. Anything but a clear yes counts as no."""
        # asyncio would only note the first Ctrl-C and continue to read, and act on it after the answer.
        wakeup_fd = signal.set_wakeup_fd(-1)
        before = {number: signal.signal(number, signal.default_int_handler) for number in heeded_signals()}
        try:
            return self.console.input(Text(f"{question} [y/N] ")).strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            return False
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup_fd)

    @asynccontextmanager
    async def busy(self, what: Callable[[], str]) -> AsyncIterator[None]:
        """Print `what()` with the time so far while a `with` lasts: after FIRST_SIGN_S, then every NEXT_SIGN_S."""
        began = self._clock()

        async def signs() -> None:
            wait_s = FIRST_SIGN_S
            while True:
                await self._sleep(wait_s)
                self.lines([f"  {what()}: {duration(self._clock() - began)} so far"])
                wait_s = NEXT_SIGN_S

        printing = asyncio.ensure_future(signs())
        try:
            yield
        finally:
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)  # the output may be closed: the run notices itself

    def waiting(self, wait_s: float, left_s: float) -> None:
        """Print how long the homeserver makes us wait now, and an estimate of the whole time left."""
        self.lines([f"  rate limited: waiting {wait_s:.1f} s, about {duration(left_s)} left"])


def heeded_signals() -> list[signal.Signals]:
    """Return the signals that end a run tidily, without those that this process was started to ignore (`nohup`)."""
    return [number for number in (SIGINT, SIGTERM, SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]


def duration(seconds: float) -> str:
    """Return `12 s` or `1 min 40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
