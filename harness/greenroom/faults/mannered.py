"""A homeserver with the manners of another one, for everybody who uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenroom.faults.manners import names_of
from greenroom.faults.proxy import fault_proxy
from greenroom.homeserver.interface import Capability, Missing, RunningHomeserver

_NO_ADMIN = Missing("its manners have no admin API", "people do it instead, or leave out no-admin-api")
_NO_LIMITS = Missing("its manners know no rate limits", "faults.rate_limited(), or leave out no-rate-limits")
LACKS: Mapping[str, Mapping[Capability, Missing]] = {
    "no-admin-api": {Capability.ADMIN_API: _NO_ADMIN, Capability.RATE_LIMITS_PER_USER: _NO_ADMIN},
    "no-rate-limits": {Capability.RATE_LIMITS: _NO_LIMITS, Capability.RATE_LIMITS_PER_USER: _NO_LIMITS},
}
"""Rule -> what a homeserver with it cannot do."""


def lacks(manners: Iterable[str]) -> dict[Capability, Missing]:
    """Return what a homeserver with these manners cannot do. Raises Misuse for a name that does not exist."""
    return {one: lack for name in names_of(manners) for one, lack in LACKS.get(name, {}).items()}


class ManneredHomeserver(RunningHomeserver):
    """A running homeserver behind a proxy with manners. Only the harness makes accounts past the proxy."""

    def __init__(self, behind: RunningHomeserver, chosen: tuple[str, ...], url: str) -> None:
        self._behind = behind
        self.url = url
        self.kind, self.backend, self.server_name = behind.kind, behind.backend, behind.server_name
        self.log_path, self.phases, self.federation = behind.log_path, behind.phases, behind.federation
        self.slow_because = behind.slow_because
        self.manners = chosen
        self._seeded = behind._seeded
        self.missing = {**behind.missing, **lacks(chosen)}
        made = behind.registration
        self.registration = None if made is None else replace(made, url=made.url or behind.url)

    @property
    def handle(self) -> Mapping[str, Any]:
        return self._behind.handle

    def check_alive(self) -> None:
        self._behind.check_alive()

    def log_tail(self, lines: int = 15) -> list[str]:
        return self._behind.log_tail(lines)

    async def stop(self) -> None:
        await self._behind.stop()

    async def kill(self) -> None:
        await self._behind.kill()

    async def pause(self) -> None:
        await self._behind.pause()

    async def resume(self) -> None:
        await self._behind.resume()

    async def start_again(self) -> None:
        await self._behind.start_again()

    async def copy_data(self, folder: Path) -> None:
        await self._behind.copy_data(folder)

    async def close(self) -> None:
        await self._behind.close()


@asynccontextmanager
async def with_manners(server: RunningHomeserver, names: Iterable[str]) -> AsyncIterator[RunningHomeserver]:
    """Give a running homeserver the manners of these names, for the length of an `async with`.

    Without names, or if it has them already, it is the same homeserver. Raises Misuse for a name that does not exist.
    """
    chosen = tuple(names)
    if not chosen or chosen == server.manners:
        yield server
        return
    async with fault_proxy(server) as proxy:
        proxy.manners(*chosen)
        yield ManneredHomeserver(server, chosen, proxy.url)
