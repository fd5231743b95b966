"""Follow a container's log into a file on this machine. The end of the stream means that the container has ended.

Run as a module, it follows a container that outlives us (`dev --detach`):

    python -m greenroom.homeserver.container.log CONTAINER FILE
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any


class LogFollower:
    """A thread that appends one run of a container to a file, and then sets `ended`.

    Without polling: the engine closes the stream when the container ends. Without a `path` nothing is written.
    """

    def __init__(self, container: Any, path: Path | None) -> None:
        self._container = container
        self._path = path
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="greenroom-container-log", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float = 3.0) -> None:
        """Wait for the rest of the log, after the container has ended."""
        self._thread.join(timeout_s)

    def _follow(self) -> None:
        try:
            follow(self._container, self._path)
        finally:
            self.ended.set()


def follow(container: Any, path: Path | None) -> None:
    """Append the log of the container's latest start to `path`, until the container ends or the engine goes away."""
    with suppress(Exception):  # on this thread nobody could catch it; a later call to the engine reports the same
        chunks = container.logs(stream=True, follow=True, since=started_at(container))
        if path is None:
            for _ in chunks:
                pass
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            for chunk in chunks:
                log.write(chunk)
                log.flush()


def tail(container: Any, lines: int) -> list[str]:
    """Return the last lines of a container's log; none if the engine does not answer."""
    with suppress(Exception):
        text: bytes = container.logs(tail=lines)
        return text.decode(errors="replace").splitlines()
    return []


def started_at(container: Any) -> float:
    """Return the time of a container's latest start, by the engine's clock."""
    container.reload()
    # 2026-11-21T20:31:18.123456789Z; Podman writes its own zone.
    return datetime.fromisoformat(str(container.attrs["State"]["StartedAt"])).timestamp()


def main(arguments: list[str]) -> int:
    """Follow until the container ends."""
    from greenroom.homeserver.container.engine import connect

    container_id, path = arguments
    follow(connect().client.containers.get(container_id), Path(path))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
