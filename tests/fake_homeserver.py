"""A homeserver in memory, over real HTTP on loopback, for the tests of the bot and of the reset tool.

It holds what one account can see, that of `tests.bot.factory.ME`, and fails on demand. It records every request in
order, so that tests read off the wire what was done. It keeps state, but it enforces no power levels.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.bot.factory import ALICE, ME, Room, event, text
from tests.fake_keys import FakeKeys

PREFIX = "/_matrix/client/v3"
PASSWORD = "correct horse"
WAIT_LIMIT_S = 10.0
"""A condition that does not come true within this time fails the test; nothing ever waits for this long otherwise."""

HTML = "<html><body>Bad Gateway</body></html>"


@dataclass(frozen=True)
class Request:
    """One request as it arrived. `path` is unquoted and without the `/_matrix/client/v3`."""

    method: str
    path: str
    query: dict[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """An answer instead of the real one for the next `times` requests that match `METHOD path` (a regex).

    `after` lets the request take effect first, as when the answer gets lost. `status` None cuts the connection.
    """

    pattern: str
    status: int | None = 502
    body: Any = HTML
    times: float = 1
    after: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    """Hold back the real answer, made now, until this is set."""
    act: Callable[[], Any] | None = None
    """Call this, and wait if it returns an awaitable. Then make the real answer."""

    def answer(self, request: web.Request) -> web.Response:
        if self.status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(self.body, str):
            return web.Response(status=self.status, text=self.body, content_type="text/html", headers=self.headers)
        return web.json_response(self.body, status=self.status)


class FakeRoom(Room):
    """A room with a history: `history` holds (position in the server's stream, event)."""

    def __init__(self, server: FakeHomeserver, room_id: str, **create: Any) -> None:
        self.server = server
        self.history: list[tuple[int, dict[str, Any]]] = []
        super().__init__(room_id, **create)

    def put(self, type_: str, content: Any, *, key: str = "", sender: str = ME, **more: Any) -> Room:
        before = self.state.get((type_, key))
        unsigned = {"prev_content": before["content"]} if before else {}
        super().put(type_, content, key=key, sender=sender, unsigned=unsigned, **more)
        self.server.append(self, self.state[type_, key])
        return self

    def membership(self, user_id: str = ME) -> str:
        found = self.state.get(("m.room.member", user_id))
        return str(found["content"]["membership"]) if found else ""

    def was_in(self, position: int | None) -> bool:
        """Return whether the account was in the room at that position."""
        own = [e for at, e in self.history if at <= (position or 0) and _is_own_membership(e)]
        return bool(own) and own[-1]["content"].get("membership") == "join"

    def said(self, sender: str = ME) -> list[str]:
        """What somebody wrote here, in order."""
        messages = [e for _, e in self.history if e["type"] == "m.room.message" and e["sender"] == sender]
        return [m["content"]["body"] for m in messages]


@dataclass
class FakeHomeserver:
    """See the module. `url` is set while it runs."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    rooms: dict[str, FakeRoom] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    account_data: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    """Access token -> device id."""
    to_device: list[dict[str, Any]] = field(default_factory=list)
    """What waits for the bot's device; every tokenless sync brings it."""
    keys: FakeKeys = field(default_factory=FakeKeys)
    absent: set[str] = field(default_factory=set)
    """Rooms left out of snapshots, as quiet rooms are by some servers, and left rooms by others."""
    forgets_on_leave: bool = False
    says_yes: bool = False
    """Answer 200 to every leave and forget, whether or not there is something to leave or to forget (Conduit)."""
    pictures_from_a_cache: bool = False
    """Answer a device's second sync without a token as its first one, for ever (Conduit)."""
    left_without_state: bool = False
    """Tell of a left room nothing but that it was left."""
    left_rooms_can_be_read: bool = True
    room_version: Any = "12"
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._now = 0
        self._sent: dict[str, str] = {}
        self._pictures: dict[str, dict[str, Any]] = {}
        self._changed = asyncio.Condition()

    # What tests see and do

    def paths(self, *, writes_only: bool = False) -> list[str]:
        """Return the requests as `METHOD path`; with `writes_only` those that change something people can see."""
        quiet = re.compile(r"GET |POST /(login|logout|keys/)|PUT /sendToDevice")
        return [str(r) for r in self.requests if not (writes_only and quiet.match(str(r)))]

    def count(self, pattern: str) -> int:
        return sum(1 for path in self.paths() if re.search(pattern, path))

    def fail(self, pattern: str, status: int | None = 502, body: Any = HTML, **more: Any) -> Fault:
        self.faults.append(Fault(pattern, status, body, **more))
        return self.faults[-1]

    def hold(self, pattern: str) -> asyncio.Event:
        """Hold back the answer to the next such request until the event returned is set."""
        gate = asyncio.Event()
        self.faults.append(Fault(pattern, gate=gate))
        return gate

    def when(self, pattern: str, act: Callable[[], Any], times: float = 1) -> None:
        """Call `act` as the next such request arrives, before the real answer to it."""
        self.faults.append(Fault(pattern, act=act, times=times))

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Wait until the condition holds. Fail with the last requests if it never does."""
        deadline = asyncio.get_running_loop().time() + WAIT_LIMIT_S
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                seen = "\n".join(self.paths()[-30:])
                raise AssertionError(f"waited {WAIT_LIMIT_S:g} s in vain for: {what or 'a condition'}\n{seen}")
            await asyncio.sleep(0.003)

    async def nudge(self) -> None:
        """Let waiting syncs look again, after a change made through a room."""
        async with self._changed:
            self._changed.notify_all()

    def room(self, room_id: str, **create: Any) -> FakeRoom:
        """Make a room; the `creator` is the bot if absent."""
        self.rooms[room_id] = FakeRoom(self, room_id, **create)
        return self.rooms[room_id]

    def chat(self, room_id: str = "!chat", **identity: Any) -> FakeRoom:
        """Make a chat of Alice and the bot."""
        room = self.room(room_id, ts=1000)
        room.member(ALICE, "join").named("Chat 1", by=ME).identity(space_id="!space", **identity)
        return room

    def space(self, *children: str) -> FakeRoom:
        room = self.room("!space", type="m.space", ts=900)
        room.member(ALICE, "join").named("Chats of alice", by=ME).children(*children)
        room.identity(kind="space", chat_id="space", space_id=None, request="$asked-for-space", title="Chats of alice")
        return room

    async def say(self, room: FakeRoom, body: Any, sender: str = ALICE, **content: Any) -> str:
        """Write a message as somebody and return its event id."""
        return await self.add(room, text(body, sender, **content))

    async def add(self, room: FakeRoom, happened: dict[str, Any]) -> str:
        self.append(room, happened)
        await self.nudge()
        return str(happened["event_id"])

    async def invite(self, room_id: str = "!direct:hs1", person: str = ALICE, *, direct: bool = True) -> FakeRoom:
        """Make a room as a person and invite the bot."""
        room = self.room(room_id, creator=person)
        room.member(ME, "invite", by=person, **({"is_direct": True} if direct else {}))
        await self.nudge()
        return room

    def append(self, room: FakeRoom, happened: dict[str, Any]) -> None:
        self._now += 1
        room.history.append((self._now, happened))

    # HTTP

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.answer(request)
        finally:
            self.at_once -= 1

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.text()
        path = unquote(request.rel_url.raw_path.removeprefix(PREFIX))
        asked = Request(request.method, path, dict(request.query), json.loads(raw) if raw else None)
        self.requests.append(asked)
        await self.nudge()
        fault = next((f for f in self.faults if f.times > 0 and re.search(f.pattern, str(asked))), None)
        if fault:
            fault.times -= 1
            if fault.act:
                if inspect.isawaitable(acting := fault.act()):
                    await acting
                return await self._route(request, asked)
            if fault.gate:
                answer = await self._route(request, asked)
                await fault.gate.wait()
                return answer
            if fault.after:
                await self._route(request, asked)
                await self.nudge()
            return fault.answer(request)
        answer = await self._route(request, asked)
        await self.nudge()
        return answer

    async def _route(self, request: web.Request, asked: Request) -> web.Response:
        parts = [unquote(p) for p in request.rel_url.raw_path.removeprefix(PREFIX).strip("/").split("/")]
        if parts == ["login"]:
            return self._login(asked.body)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.devices:
            return _error(401, "M_UNKNOWN_TOKEN")
        match asked.method, *parts:
            case "GET", "account", "whoami":
                return _ok({"user_id": ME, "device_id": self.devices[token]})
            case "POST", "logout":
                del self.devices[token]
                return _ok({})
            case "GET", "sync":
                picture = await self._sync(asked.query)
                if self.pictures_from_a_cache and not asked.query.get("since"):
                    picture = self._pictures.setdefault(self.devices[token], picture)
                return _ok(picture)
            case "GET", "joined_rooms":
                return _ok({"joined_rooms": [r.room_id for r in self.rooms.values() if r.membership() == "join"]})
            case "POST", "createRoom":
                return _ok({"room_id": self._create(asked.body)})
            case ("POST", "join", room_id) if room_id in self.rooms:
                self.rooms[room_id].member(ME, "join")
                return _ok({"room_id": room_id})
            case ("POST", "rooms", room_id, "leave") if room_id in self.rooms:
                return self._said_yes(self._leave(self.rooms[room_id]))
            case "POST", "rooms", room_id, "forget":
                return self._said_yes(self._forget(room_id))
            case "GET", "capabilities":
                leaving, versions = {"enabled": self.forgets_on_leave}, {"default": self.room_version}
                return _ok({"capabilities": {"m.forget_forced_upon_leave": leaving, "m.room_versions": versions}})
            case "GET", "devices":
                return _ok({"devices": [{"device_id": device_id} for device_id in self.devices.values()]})
            case "POST", "rooms", room_id, "invite":
                self.rooms[room_id].member(asked.body["user_id"], "invite", by=ME)
                return _ok({})
            case "GET", "rooms", room_id, "state" if not self._may_read(room_id):
                return _error(403, "M_FORBIDDEN")
            case "GET", "rooms", room_id, "state":
                return _ok(list(self.rooms[room_id].state.values()))
            case ("GET", "rooms", room_id, "state", type_, *key) if (type_, "".join(key)) in self.rooms[room_id].state:
                told = self.rooms[room_id].state[type_, "".join(key)]
                return _ok(told if asked.query.get("format") == "event" else told["content"])
            case "GET", "rooms", room_id, "members":
                members = [e for (kind, _), e in self.rooms[room_id].state.items() if kind == "m.room.member"]
                return _ok({"chunk": members})
            case "GET", "rooms", room_id, "messages":
                return _ok(self._messages(room_id, asked.query))
            case "PUT", "rooms", room_id, "state", type_, *key:
                self.rooms[room_id].put(type_, asked.body, key="".join(key))
                return _ok({"event_id": "$state"})
            case "PUT", "rooms", room_id, "send", type_, txn_id:
                return _ok({"event_id": self._send(room_id, type_, txn_id, asked.body)})
            case "GET", "user", _, "account_data", type_:
                return _ok(self.account_data[type_]) if type_ in self.account_data else _error(404, "M_NOT_FOUND")
            case "PUT", "user", _, "account_data", type_:
                self.account_data[type_] = asked.body
                return _ok({})
            case "POST", "keys", *what:
                status, answer = self.keys.answer(self.devices[token], tuple(what), asked.body)
                return web.json_response(answer, status=status)
        return _error(404, "M_UNRECOGNIZED")

    def _login(self, body: Any) -> web.Response:
        if body["password"] != PASSWORD or body["identifier"]["user"] != ME:
            return _error(403, "M_FORBIDDEN", "Invalid username or password")
        token, device = f"token{next(self._ids)}", body.get("device_id") or f"DEVICE{next(self._ids)}"
        self.devices = {old: its for old, its in self.devices.items() if its != device} | {token: device}
        return _ok({"user_id": ME, "device_id": device, "access_token": token})

    def _leave(self, room: FakeRoom) -> web.Response:
        if room.membership() not in ("join", "invite", "knock"):
            return _error(403, "M_FORBIDDEN")
        room.member(ME, "leave")
        return self._forget(room.room_id) if self.forgets_on_leave else _ok({})

    def _forget(self, room_id: str) -> web.Response:
        """Forget a room that the account has left. Like Synapse, answer 200 for a room that is unknown."""
        if room_id in self.rooms and self.rooms[room_id].membership() not in ("leave", "ban"):
            return _error(400, "M_UNKNOWN")
        self.rooms.pop(room_id, None)
        return _ok({})

    def _may_read(self, room_id: str) -> bool:
        """Return whether the account is in a room, or has left it and not forgotten. Synapse refuses the banned."""
        readable = ("join", "leave") if self.left_rooms_can_be_read else ("join",)
        return room_id in self.rooms and self.rooms[room_id].membership() in readable

    def _said_yes(self, answer: web.Response) -> web.Response:
        return _ok({}) if self.says_yes else answer

    def _create(self, body: Any) -> str:
        create = {"version": body.get("room_version", "12"), **body.get("creation_content", {})}
        room = self.room(f"!made{next(self._ids)}", ts=self._now + 5000, **create)
        room.power(**{"users": {}, **body.get("power_level_content_override", {})})
        for state in body.get("initial_state", []):
            room.put(state["type"], state["content"], key=state["state_key"])
        room.named(body["name"], by=ME)
        for person in body.get("invite", []):
            room.member(person, "invite", by=ME)
        return room.room_id

    def _send(self, room_id: str, type_: str, txn_id: str, content: Any) -> str:
        if txn_id not in self._sent:
            sent = event(type_, content)
            self.append(self.rooms[room_id], sent)
            self._sent[txn_id] = sent["event_id"]
        return self._sent[txn_id]

    async def _sync(self, query: dict[str, str]) -> dict[str, Any]:
        since = int(query["since"].removeprefix("s")) if query.get("since") else None
        wanted = json.loads(query.get("filter", "{}")).get("room", {})
        if since is not None and int(query.get("timeout", 0)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(int(query["timeout"]) / 1000), self._changed:
                    await self._changed.wait_for(lambda: self._news(since, wanted))
        waiting = {"to_device": {"events": self.to_device}} if since is None else {}
        return {
            "next_batch": f"s{self._now}",
            **self._news(since, wanted),
            **waiting,
            "account_data": {"events": self._account_data(query, since)},
        }

    def _account_data(self, query: dict[str, str], since: int | None) -> list[dict[str, Any]]:
        """Return the account data that the filter lets through; push rules are part of every sync without a token."""
        wanted = json.loads(query.get("filter", "{}")).get("account_data", {})
        types, not_types = wanted.get("types"), wanted.get("not_types", [])
        all_data = {**({} if since is not None else {"m.push_rules": {"global": {}}}), **self.account_data}
        return [
            {"type": type_, "content": content}
            for type_, content in all_data.items()
            if (types is None or type_ in types) and type_ not in not_types and "*" not in not_types
        ]

    def _news(self, since: int | None, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return `{"rooms": …}` with what happened since then, or `{}` when nothing did."""
        sections: dict[str, Any] = {"join": {}, "invite": {}, "knock": {}, "leave": {}}
        for room in self.rooms.values():
            fresh = [e for position, e in room.history if since is None or position > since]
            if room.membership() == "join" and any(map(_is_own_membership, fresh)) and not room.was_in(since):
                fresh = [e for _, e in room.history]  # as Synapse does for a room that is new to the account
            hidden = since is None and room.room_id in self.absent
            if not fresh or hidden or room.room_id not in wanted.get("rooms", [room.room_id]):
                continue
            section = room.membership().replace("ban", "leave")
            if section in ("invite", "knock"):
                sections[section][room.room_id] = {f"{section}_state": {"events": list(room.state.values())}}
            elif section:
                sections[section][room.room_id] = _entry(room, fresh, since, wanted)
                if section == "leave" and self.left_without_state:
                    sections[section][room.room_id] = {}
        return {"rooms": sections} if any(sections.values()) else {}

    def _messages(self, room_id: str, query: dict[str, str]) -> dict[str, Any]:
        """Page backwards from a position (`p7`: before the event at 7; `s7`: after it) towards an older sync token."""
        start, stop = int(query["from"][1:]) + query["from"].startswith("s"), int(query.get("to", "s0")[1:])
        older = [(at, e) for at, e in self.rooms[room_id].history if stop < at < start][::-1][: int(query["limit"])]
        end = {"end": f"p{older[-1][0]}"} if older else {}
        return {"chunk": [e for _, e in older], "start": query["from"], **end}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FakeHomeserver]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


def _is_own_membership(happened: dict[str, Any]) -> bool:
    return happened["type"] == "m.room.member" and happened.get("state_key") == ME


def _entry(room: FakeRoom, fresh: list[dict[str, Any]], since: int | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return a joined or left room: the newest events as its timeline, older changes in its state section."""
    limit = 0 if wanted.get("timeline", {}).get("types") == [] else wanted.get("timeline", {}).get("limit", 10)
    timeline = fresh[-limit:] if limit else []
    source = list(room.state.values()) if since is None else [e for e in fresh if "state_key" in e]
    types = wanted.get("state", {}).get("types")
    state = [e for e in source if e not in timeline and (types is None or e["type"] in types)]
    first = next((at for at, e in room.history if timeline and e is timeline[0]), 0)
    timeline_section = {"events": timeline, "limited": len(fresh) > limit, "prev_batch": f"p{first}"}
    return {"state": {"events": state}, "timeline": timeline_section}


def _ok(body: Any) -> web.Response:
    return web.json_response(body)


def _error(status: int, errcode: str, error: str = "") -> web.Response:
    return web.json_response({"errcode": errcode, "error": error or errcode}, status=status)
