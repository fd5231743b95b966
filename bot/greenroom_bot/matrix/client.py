"""The one place where matrix-nio's answers are turned into values or raised errors.

nio returns error objects, and sometimes returns the success class for a failure (`room_leave` on a 502 with an HTML
body). Nothing else in the bot looks at an nio response before `ok` has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from nio import AsyncClient, AsyncClientConfig, MatrixRoom, Response, SyncResponse
from nio.store import DefaultStore

from greenroom_bot.matrix.errors import BotError, MatrixError, failure
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_bot.matrix.retry import until_answered

R = TypeVar("R", bound=Response)
S = TypeVar("S", dict[str, Any], list[dict[str, Any]])
Ask = Callable[[RoomId], Awaitable[list[dict[str, Any]]]]
"""Asks for a room's state events. Raises MatrixError or SessionOver."""

# Logging in or out, and the device's own encryption keys, change nothing that another person can see.
_NOT_WRITES = ("/login", "/logout", "/keys/", "/sendToDevice/", "/filter")
REQUEST_TIMEOUT_S = 60.0
ROOMS_AT_ONCE = 8


class WriteRefused(AssertionError):
    """A write was attempted while the client was read-only. A bug of ours, never a condition to handle."""


class _Answer(NamedTuple):
    method: str
    path: str
    status: int
    text: str


class _KeyStore(DefaultStore):  # type: ignore[misc]
    """nio's store of keys, which closes its database if it cannot be used."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except Exception:
            self.database.close()
            raise


class Client(AsyncClient):  # type: ignore[misc]
    """matrix-nio's client with its requests counted, its retries off, and a lock against writing.

    `requests` and `writes` count HTTP requests sent since construction. While `read_only` is true a write
    raises WriteRefused before it reaches the network. Retrying is the caller's decision (`retry`), so nio's own endless
    retries on 429 and timeouts are disabled.
    """

    next_batch: str
    user_id: UserId

    def __init__(self, homeserver: str, user_id: str, *, store_path: str, device_id: str = "") -> None:
        config = AsyncClientConfig(
            store=_KeyStore,
            encryption_enabled=True,
            store_sync_tokens=False,  # nio saves a token before the batch is handled; ours is saved after
            max_limit_exceeded=0,
            max_timeouts=0,
            request_timeout=REQUEST_TIMEOUT_S,
        )
        super().__init__(homeserver, user_id, device_id=device_id, store_path=store_path, config=config)
        self.user_id = UserId(user_id)  # nio leaves it empty until a login or `restore_login`
        self.requests = 0
        self.writes = 0
        self.read_only = False
        self.snapshot: Mapping[str, Any] | None = None
        """The last full-state sync, as JSON. It is large: set it back to None after use."""
        self.snapshot_requests = 0
        """How many requests the snapshot took."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, and the key store, which nio leaves open."""
        await super().close()
        if self.store is not None:
            self.store.database.close()

    async def send(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        self.requests += 1
        if method != "GET" and not any(part in path for part in _NOT_WRITES):
            if self.read_only:
                raise WriteRefused(f"{method} {_without_query(path)} while read-only")
            self.writes += 1
        return await super().send(method, path, *args, **kwargs)

    async def create_matrix_response(
        self, response_class: Any, transport_response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Return nio's response to a 2xx answer; raise MatrixError or SessionOver for any other before nio sees it.

        nio returns the success class for some failures, takes an error for done in steps of its own (sharing a key, for
        one), and 0.26 trips over some error answers (a 502 page to a key claim).
        """
        name, status = response_class.__name__.removesuffix("Response"), transport_response.status
        try:
            if not 200 <= status < 300:
                raise failure("nio", name, status=status, body=await self.parse_body(transport_response))
            return await super().create_matrix_response(response_class, transport_response, *args, **kwargs)
        except (BotError, aiohttp.ClientError, TimeoutError, OSError):
            raise
        except Exception as error:
            cause = f"nio cannot read the answer: {type(error).__name__}"
            raise MatrixError("nio", name, status=status, cause=cause) from error
        finally:
            transport_response.release()

    async def parse_body(self, transport_response: Any) -> Any:
        """Return the body as an object; whatever else a proxy sends becomes `{}` and fails in `ok`."""
        try:
            body = await super().parse_body(transport_response)
        except (UnicodeDecodeError, ValueError):
            return {}
        if not isinstance(body, dict):
            return {}
        if "errcode" in body:
            body.setdefault("error", "")  # nio drops the errcode of an error without a text, which the spec allows
        if _is_sync(transport_response):
            _complete_left_rooms(body)
            if isinstance(counts := body.get("device_one_time_keys_count"), dict):
                counts.setdefault("signed_curve25519", 0)  # the spec: an algorithm that is not listed has none
        return body

    async def sync(self, timeout: int | None = 0, *args: Any, full_state: bool | None = None, **kwargs: Any) -> Any:
        """Sync as nio does; with `full_state=True` take a tokenless snapshot instead, and return it as parsed JSON.

        nio would spend over a millisecond a room on schema checks and on a model that reconciliation must not use
        anyway (it merges power levels and drops custom state). Tokenless, because servers leave quiet rooms out of
        `since` plus `full_state` (tuwunel up to 1.9.0). The state after the timeline is asked for (MSC4222, in the spec
        since 1.16); a server that does not know it returns the state before the timeline. Raises MatrixError then.
        """
        if not full_state:
            return await super().sync(timeout, *args, full_state=full_state, **kwargs)
        self.snapshot = None  # a failure must not leave an old one
        after = {"use_state_after": "true", "org.matrix.msc4222.use_state_after": "true"}
        wanted = json.dumps(kwargs.get("sync_filter") or {}, separators=(",", ":"))
        query = {"full_state": "true", "timeout": str(timeout or 0), "filter": wanted, **after}
        snapshot = await self.request("GET", "sync", query=query, timeout_s=10 * REQUEST_TIMEOUT_S)
        if not isinstance(snapshot.get("next_batch"), str):
            raise MatrixError("GET", "/sync", status=200, cause="the answer has no next_batch")
        self.snapshot, self.next_batch, self.snapshot_requests = snapshot, snapshot["next_batch"], 1
        return snapshot

    async def catch_up(self, sync_filter: Mapping[str, Any]) -> None:
        """Bring the snapshot up to date: a homeserver may take it from a cache, however old (Conduit does).

        Asks what has changed since, and reads the state of the rooms in question: a sync may leave it out. This tells
        the homeserver that the snapshot's to-device messages have arrived, so `take_keys` comes first; afterwards the
        snapshot has those that came later. Raises MatrixError.
        """
        assert self.snapshot is not None, "a snapshot has been taken"
        wanted = json.dumps(sync_filter, separators=(",", ":"))
        query = {"since": self.next_batch, "timeout": "0", "filter": wanted}
        changes = await self.request("GET", "sync", query=query, timeout_s=10 * REQUEST_TIMEOUT_S)
        states = await room_states(map(RoomId, (changes.get("rooms") or {}).get("join") or {}), self.sure_room_state)
        self.snapshot = brought_up_to_date(self.snapshot, changes, states)
        self.snapshot_requests += 1 + len(states)
        self.next_batch = str(changes.get("next_batch") or self.next_batch)

    async def take_keys(self) -> None:
        """Hand the snapshot's to-device messages, room keys above all, to nio.

        Only when the bot continues from the snapshot's token: then the homeserver forgets them, otherwise it sends them
        again.
        """
        if self.snapshot is not None:
            sent = self.snapshot.get("to_device", {})
            response = SyncResponse.from_dict({"next_batch": "", "rooms": {}, "to_device": sent})
            if isinstance(response, SyncResponse):
                await self._handle_to_device(response)

    async def request(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Send one client-server request and return its JSON object.

        `path` holds the segments after `/_matrix/client/v3`, unquoted. Raises MatrixError for anything but a 2xx
        with a JSON object: HTML pages, empty bodies and cut connections included.
        """
        return _shaped(dict, await self._json(method, path, body, query, timeout_s))

    async def insist(
        self, what: str, method: str, *path: str, body: Mapping[str, Any] | None = None, attempts: int | None = None
    ) -> dict[str, Any]:
        """Send an idempotent request until the homeserver accepts or refuses it; see `until_answered`.

        A request about one room ends after some minutes if the homeserver fails in that room only.
        """
        well = self.well if path[0] == "rooms" else None
        return await until_answered(what, lambda: self.request(method, *path, body=body), attempts=attempts, well=well)

    async def well(self) -> None:
        """Check that the homeserver answers at all. Raises MatrixError."""
        await self.request("GET", "account", "whoami")

    async def room_state(self, room_id: RoomId) -> list[dict[str, Any]]:
        """Return a room's current state events (after we left: as of then). Raises MatrixError."""
        return _shaped(list, await self._json("GET", ("rooms", room_id, "state"), None, None, REQUEST_TIMEOUT_S))

    async def sure_room_state(self, room_id: RoomId) -> list[dict[str, Any]]:
        """Return what `room_state` does. Ask again until the homeserver tells or refuses it; see `until_answered`."""
        return await until_answered("room state", partial(self.room_state, room_id), well=self.well)

    async def _json(
        self,
        method: str,
        path: tuple[str, ...],
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        timeout_s: float,
    ) -> _Answer:
        url = "/".join(["/_matrix/client/v3", *(quote(part, safe="") for part in path)])
        full = f"{url}?{urlencode(query)}" if query else url
        headers = {"Content-Type": "application/json"}
        if self.access_token:
            headers["Authorization"] = f"Bearer {self.access_token}"
        data = json.dumps(body or {}) if method != "GET" else None
        try:
            answer = await self.send(method, full, data, headers, timeout=timeout_s)
            return _Answer(method, url, answer.status, await answer.text(errors="replace"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unanswered(method, url, error) from error

    def know_room(self, room_id: RoomId, *, encrypted: bool) -> None:
        """Add a joined room to nio's model, so that nio can send there. Members are fetched when it first encrypts."""
        if room_id not in self.rooms:
            self.rooms[room_id] = MatrixRoom(room_id, self.user_id, encrypted or room_id in self.encrypted_rooms)
        elif encrypted:
            self.rooms[room_id].encrypted = True


async def room_states(
    rooms: Iterable[RoomId], ask: Ask, *, at_once: int = ROOMS_AT_ONCE
) -> dict[RoomId, list[dict[str, Any]] | None]:
    """Ask for the state of several rooms. None: the homeserver does not tell it. Raises SessionOver."""
    limit = asyncio.Semaphore(at_once)

    async def read(room_id: RoomId) -> list[dict[str, Any]] | None:
        async with limit:
            try:
                return await ask(room_id)
            except (MatrixError, UnicodeError):  # an id with a lone surrogate makes no URL
                return None

    try:
        async with asyncio.TaskGroup() as group:
            asked = {room_id: group.create_task(read(room_id)) for room_id in rooms}
    except BaseExceptionGroup as group_error:  # the session is over, for one
        raise group_error.exceptions[0] from None
    return {room_id: task.result() for room_id, task in asked.items()}


async def ok(pending: Any, expected: type[R]) -> R:
    """Await an nio call and return its response only if it truly succeeded.

    Raises SessionOver when the homeserver no longer knows our token, MatrixError for every other failure: a refusal, an
    answer of another shape, no answer.
    """
    name = expected.__name__.removesuffix("Response")
    try:
        response = await pending
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise unanswered("nio", name, error) from error
    transport = getattr(response, "transport_response", None)
    status = getattr(transport, "status", None)
    if isinstance(response, expected) and (status is None or 200 <= status < 300):
        return response
    body: dict[str, Any] = {}
    if isinstance(code := getattr(response, "status_code", None), str):
        body["errcode"] = code
    if message := getattr(response, "message", None):
        body["error"] = str(message)
    if isinstance(retry := getattr(response, "retry_after_ms", None), int):
        body["retry_after_ms"] = retry
    raise failure("nio", name, status=status, body=body)


def unanswered(method: str, path: str, error: BaseException) -> MatrixError:
    """Return the error for a request that got no answer. A refused connection certainly had no effect."""
    definite = isinstance(error, (aiohttp.ClientConnectorError, ConnectionRefusedError))
    cause = (
        "timed out" if isinstance(error, (TimeoutError, asyncio.TimeoutError)) else str(error) or type(error).__name__
    )
    return MatrixError(method, path, status=None, cause=cause, definite=definite)


def _shaped(shape: type[S], answer: _Answer) -> S:
    """Return the answer's JSON if it is a success of the expected shape. Raises MatrixError or SessionOver."""
    try:
        body = json.loads(answer.text)
    except (ValueError, RecursionError):
        body = None
    if 200 <= answer.status < 300 and isinstance(body, shape):
        return body
    known = body if isinstance(body, dict) else None
    # Quoted only if it is a page: a cut answer of the homeserver may begin with a token or with what people wrote.
    seen = (
        repr(answer.text[:60])
        if answer.text.lstrip().startswith("<")
        else f"{len(answer.text)} characters of another kind"
    )
    cause = "" if known else f"the answer is no JSON {shape.__name__} but {seen}"
    raise failure(answer.method, answer.path, status=answer.status, body=known, cause=cause)


def brought_up_to_date(
    snapshot: Mapping[str, Any],
    changes: Mapping[str, Any],
    states: Mapping[RoomId, list[dict[str, Any]] | None],
) -> dict[str, Any]:
    """Return a snapshot with what has changed since.

    `states`: the state of each changed room that the account is in, None if it could not be read.
    """
    rooms = {part: dict((snapshot.get("rooms") or {}).get(part) or {}) for part in ("join", "invite", "leave")}
    for part in rooms:
        for room_id, room in ((changes.get("rooms") or {}).get(part) or {}).items():
            state = states.get(room_id)
            if (part == "join" and state is None) or (part == "leave" and room_id in rooms["leave"]):
                continue  # some servers tell of left rooms again, without saying why they were left
            for other in rooms.values():
                other.pop(room_id, None)
            timeline = room.get("timeline") or {}
            rooms[part][room_id] = {"state_after": {"events": state}, "timeline": timeline} if part == "join" else room
    return {
        **snapshot,
        "rooms": rooms,
        "to_device": changes.get("to_device") or {},
        "account_data": changes["account_data"] if _events_in(changes) else snapshot.get("account_data") or {},
    }


def _events_in(sync: Mapping[str, Any]) -> object:
    return (sync.get("account_data") or {}).get("events")


def _complete_left_rooms(sync: dict[str, Any]) -> None:
    """Add the parts of left rooms without which nio raises; servers leave them out for version-12 rooms."""
    sections = sync.get("rooms")
    left = sections.get("leave") if isinstance(sections, dict) else None
    for room in left.values() if isinstance(left, dict) else ():
        if isinstance(room, dict):
            room.setdefault("state", {"events": []})
            room.setdefault("timeline", {"events": [], "limited": False, "prev_batch": ""})


def _is_sync(transport_response: Any) -> bool:
    return str(transport_response.url.path).endswith("/sync")


def _without_query(path: str) -> str:
    return path.partition("?")[0]
