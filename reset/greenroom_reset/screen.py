"""Output for a person: rich on a terminal, plain lines without control characters anywhere else."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterable
from signal import SIGINT, SIGTERM

from rich.console import Console
from rich.text import Text

from greenroom_reset.plan import printable

_STYLES = {"NOT DONE": "red", "UNVERIFIED": "yellow", "failed": "red", "Note": "yellow", "done": "green"}
_FIRST_WORDS = re.compile(r"\s*([^:,]*)")


class Screen:
    """Prints and asks. With `json` all of it goes to stderr: stdout holds the document only."""

    def __init__(self, *, json: bool, console: Console | None = None, interactive: bool | None = None) -> None:
        self.console = console or Console(stderr=json, highlight=False, soft_wrap=True)
        self.interactive = sys.stdin.isatty() if interactive is None else interactive

    def lines(self, lines: Iterable[str]) -> None:
        """Print each as one line without control characters. On a terminal headings are bold and failures red."""
        for line in lines:
            style = _STYLES.get(_FIRST_WORDS.match(line)[1], "" if line.startswith(" ") else "bold")  # type: ignore[index]
            self.console.print(Text(printable(line), style=style))

    def confirmed(self, question: str) -> bool:
        """Ask a yes-or-no question. Anything but a clear yes counts as no."""
        # asyncio would only note the first Ctrl-C and continue to read.
        before = {number: signal.signal(number, signal.default_int_handler) for number in (SIGINT, SIGTERM)}
        try:
            return self.console.input(Text(f"{question} [y/N] ")).strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            return False
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def waiting(self, wait_s: float, left_s: float) -> None:
        """Print how long the homeserver makes us wait now, and an estimate of the whole time left."""
        self.lines([f"  rate limited: waiting {wait_s:.1f} s, about {duration(left_s)} left"])


def duration(seconds: float) -> str:
    """Return `12 s` or `1 min 40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
