"""A homeserver that somebody else runs: the dev server of another terminal, or one of your own."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from greenroom.errors import Unavailable
from greenroom.homeserver.interface import Backend, Capability, Missing, Registration, RunningHomeserver
from greenroom.homeserver.kind import DEFAULT_KIND

SOMEBODY_ELSES = Missing("somebody else runs it", "a homeserver that the test run starts itself")


class ExternalHomeserver(RunningHomeserver):
    """A running homeserver that we may use and must not stop."""

    backend = Backend.EXTERNAL

    def __init__(
        self,
        url: str,
        server_name: str,
        *,
        kind: str = DEFAULT_KIND,
        registration: Registration | None = None,
        log_path: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.server_name = server_name
        self.kind = kind
        self.registration = registration
        self.log_path = log_path or Path("/dev/null")
        can = {Capability.ROOM_UPGRADE, *([registration.way] if registration else [])}
        self.missing = dict.fromkeys(frozenset(Capability) - can, SOMEBODY_ELSES)

    def check_alive(self) -> None:
        """Do nothing: the process cannot be seen from here. A request fails if the server has ended."""

    def log_tail(self, lines: int = 15) -> list[str]:
        return []

    async def stop(self) -> None:
        self._refuse("stopped")

    async def kill(self) -> None:
        self._refuse("killed")

    async def pause(self) -> None:
        self._refuse("frozen")

    async def resume(self) -> None:
        self._refuse("resumed")

    async def start_again(self) -> None:
        self._refuse("started")

    async def copy_data(self, folder: Path) -> None:
        self.require(Capability.SNAPSHOT)

    async def close(self) -> None:
        """Do nothing: somebody else ends the server."""

    def _refuse(self, what: str) -> NoReturn:
        raise Unavailable(f"{self.url} being {what}", "somebody else runs it", "--backend process")
