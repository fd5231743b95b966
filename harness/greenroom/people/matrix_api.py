"""Plain client-server API calls over HTTP, for seeding, accounts and calls that matrix-nio lacks.

https://spec.matrix.org/latest/client-server-api/

aiohttp is imported when a `MatrixApi` is first made. The import takes a quarter of a second, and `dev` often has
nothing to call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from greenroom.errors import MatrixRefused, Unreachable

if TYPE_CHECKING:
    import aiohttp

HIERARCHY = "/_matrix/client/v1/rooms/{}/hierarchy"  # there is no /v3 of it


@dataclass(frozen=True)
class SpaceTree:
    """A room or Space, with the children that this account may see."""

    room_id: str
    name: str | None
    is_space: bool
    children: tuple[SpaceTree, ...] = ()

    def rooms(self) -> Iterator[SpaceTree]:
        """Yield everything below, parents before their children."""
        for one in self.children:
            yield one
            yield from one.rooms()

    def __str__(self) -> str:
        below = "".join("\n  " + line for one in self.children for line in str(one).splitlines())
        return f"{self.name or self.room_id}{'/' if self.is_space else ''}{below}"


async def read_space_tree(api: MatrixApi, room_id: str, token: str) -> SpaceTree:
    """Ask the server for a Space, page by page. A Space that contains itself appears once per path."""
    found: dict[str, Any] = {}
    since = ""
    while True:
        params = {"limit": "100", **({"from": since} if since else {})}
        answer = await api.call("GET", HIERARCHY.format(quote(room_id, safe="")), token=token, params=params)
        found |= {room["room_id"]: room for room in answer["rooms"]}
        since = answer.get("next_batch", "")
        if not since:
            return _tree(room_id, found, ())


def _tree(room_id: str, found: dict[str, Any], above: tuple[str, ...]) -> SpaceTree:
    room = found[room_id]
    below = [
        child["state_key"]
        for child in room.get("children_state", ())
        if child["content"].get("via") and child["state_key"] in found and child["state_key"] not in (*above, room_id)
    ]
    children = tuple(_tree(one, found, (*above, room_id)) for one in below)
    return SpaceTree(room_id, room.get("name"), room.get("room_type") == "m.space", children)


CLIENT = "/_matrix/client/v3"
RETRIES_429 = 20


def path(*parts: str) -> str:
    """Return a path below the client API, each part escaped (ids contain `!`, `:`, `@`, `/`)."""
    return "/".join((CLIENT, *(quote(part, safe="") for part in parts)))


class MatrixApi:
    """Calls to one homeserver. Belongs to the event loop that enters it."""

    def __init__(self, url: str, *, timeout_s: float = 60.0, connections: int = 32) -> None:
        import aiohttp

        self.url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._no_answer = aiohttp.ClientError

    async def __aenter__(self) -> MatrixApi:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=self._connections)
        self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        request_path: str,
        *,
        token: str | None = None,
        json: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call. Return the decoded body of a 2xx answer.

        On 429 it waits as long as the server asks, up to RETRIES_429 times. Raises MatrixRefused for any other answer,
        Unreachable without an answer.
        """
        assert self._session is not None, "use `async with MatrixApi(...)`"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = f"{method} {request_path}"
        for attempt in range(RETRIES_429 + 1):
            try:
                async with self._session.request(
                    method, self.url + request_path, headers=headers, json=json, params=params
                ) as response:
                    body = await _decoded(response)
                    if 200 <= response.status < 300:
                        return body
                    if response.status != 429 or attempt == RETRIES_429:
                        raise MatrixRefused(request, response.status, body)
            except TimeoutError:
                raise Unreachable(request, "timed out") from None
            except self._no_answer as error:
                raise Unreachable(request, f"{type(error).__name__}: {error}") from None
            await asyncio.sleep(_retry_after_s(body))
        raise AssertionError("unreachable")

    async def log_in(self, user: str, password: str, device_id: str) -> str:
        """Log in with a password. Return the access token."""
        answer = await self.call(
            "POST",
            path("login"),
            json={
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": user},
                "password": password,
                "device_id": device_id,
                "initial_device_display_name": "Greenroom",
            },
        )
        return str(answer["access_token"])

    async def default_room_version(self, token: str) -> str:
        """Return the version that new rooms get if nobody asks for another."""
        answer = await self.call("GET", path("capabilities"), token=token)
        versions = answer["capabilities"].get("m.room_versions", {})
        return str(versions.get("default", "1"))  # as the spec has it where a server does not say

    async def log_out(self, token: str) -> None:
        """End a session, and delete its device."""
        await self.call("POST", path("logout"), token=token, json={})

    async def account_data(self, user_id: str, kind: str, token: str) -> dict[str, Any]:
        """Return global account data; empty if there is none."""
        try:
            answer = await self.call("GET", path("user", user_id, "account_data", kind), token=token)
        except MatrixRefused as error:
            if error.status == 404:
                return {}
            raise
        return dict(answer)

    async def set_account_data(self, user_id: str, kind: str, content: Mapping[str, Any], token: str) -> None:
        """Write global account data."""
        await self.call("PUT", path("user", user_id, "account_data", kind), token=token, json=content)

    async def add_direct(self, user_id: str, counterpart: str, room_id: str, token: str) -> None:
        """Add a room to `m.direct`. This reads, then writes: of two calls at once for one user, one can be lost."""
        direct = await self.account_data(user_id, "m.direct", token)
        rooms = list(direct.get(counterpart, []))
        if room_id not in rooms:
            await self.set_account_data(user_id, "m.direct", {**direct, counterpart: [*rooms, room_id]}, token)


async def _decoded(response: aiohttp.ClientResponse) -> Any:
    try:
        return await response.json(content_type=None)
    except ValueError:
        return await response.text(errors="replace")


def _retry_after_s(body: Any) -> float:
    wait_ms = body.get("retry_after_ms", 1000) if isinstance(body, dict) else 1000
    return min(float(wait_ms) / 1000, 60.0)
