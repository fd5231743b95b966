"""matrix-nio's client, with what a person needs on every homeserver: whole syncs, and joins with a body."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nio

from greenroom.errors import Unreachable
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.people.whole import MOST_EVENTS, Event, Whole

SYNC = "/_matrix/client/v3/sync"
RETRY_S = 0.2


class Client(nio.AsyncClient):  # type: ignore[misc]
    """A client whose syncs are completed before nio reads them, so that nio's model of a room is whole, too."""

    def __init__(self, url: str, user_id: str, store: Path | None, config: nio.AsyncClientConfig) -> None:
        super().__init__(url, user_id, store_path=str(store) if store else None, config=config)
        self._whole = Whole(self, user_id)

    async def join(self, room_id: str) -> nio.JoinResponse | nio.JoinError:
        """Join a room, with a body: the specification wants one, and Conduit refuses a join without (nio 0.26)."""
        return await self._send(nio.JoinResponse, *nio.Api.join(self.access_token, room_id), "{}")

    async def parse_body(self, transport_response: Any) -> dict[Any, Any]:
        """Return the body of an answer; that of a sync completed."""
        body: dict[Any, Any] = await super().parse_body(transport_response)
        if transport_response.url.path == SYNC and transport_response.status == 200:
            await self._whole.complete(body)
        return body

    # -- the history for `Whole`

    async def state(self, room_id: str) -> list[Event]:
        """Return the state events of a room now. Raises MatrixRefused."""
        return list(await self._told(path("rooms", room_id, "state"), {}))

    async def page(self, room_id: str, position: str | None) -> tuple[list[Event], str | None]:
        """Return events before a position, the newest first, and the position before those. Raises MatrixRefused."""
        asked = {"dir": "b", "limit": str(MOST_EVENTS), **({"from": position} if position else {})}
        answer = await self._told(path("rooms", room_id, "messages"), asked)
        return list(answer.get("chunk", ())), answer.get("end")

    async def _told(self, where: str, params: dict[str, str]) -> Any:
        """Ask until there is an answer, as nio does for a sync."""
        async with MatrixApi(self.homeserver) as api:
            while True:
                try:
                    return await api.call("GET", where, token=self.access_token, params=params)
                except Unreachable:
                    await asyncio.sleep(RETRY_S)
