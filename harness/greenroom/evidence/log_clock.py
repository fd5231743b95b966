"""When the lines of a log were written, for programs that write no times.

A thread looks at the sizes of the files. A line that appeared between two looks was written between them, so its time
is late by up to LOOK_EVERY_S.
"""

from __future__ import annotations

import bisect
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

LOOK_EVERY_S = 0.05


@dataclass
class Growth:
    """How one file grew: each new size, with the time of the look that first saw it."""

    sizes: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def note(self, size: int, when: float) -> None:
        """Record the size that a look at the file found."""
        if size > (self.sizes[-1] if self.sizes else 0):
            self.sizes.append(size)
            self.times.append(when)

    def written_at(self, position: int) -> float | None:
        """Return the time of the look that first saw the byte at `position`; None if no look has seen it."""
        index = bisect.bisect_right(self.sizes, position)
        return self.times[index] if index < len(self.times) else None


class LogClock:
    """A thread that watches files grow. It starts with the first file."""

    def __init__(self) -> None:
        self._watched: dict[Path, Growth] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, path: Path) -> Growth:
        """Start to watch a file, which need not exist yet. Return its growth."""
        growth = self._watched.setdefault(path, Growth())
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="greenroom-log-clock", daemon=True)
            self._thread.start()
        return growth

    def forget(self) -> None:
        """Stop watching all files."""
        self._watched = {}

    def look(self) -> None:
        """Look at all files now."""
        now = time.time()
        for path, growth in list(self._watched.items()):
            try:
                growth.note(path.stat().st_size, now)
            except OSError:
                continue

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self.look()
