"""A small homeserver on loopback that counts what it is asked, and a bot's state in a temporary directory."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from rich.console import Console

from greenroom_reset import local
from greenroom_reset.errors import Refused
from greenroom_reset.local import Paths
from greenroom_reset.plan import Plan, RoomStep
from greenroom_reset.run import Options, reset
from greenroom_reset.screen import Screen

BOT = "@bot:hs.test"
ALICE = "@alice:hs.test"
PASSWORD = "right"
SERVER, LOCAL = "server-leave-forget", "local-only"

Fault = Callable[[web.Request], "web.StreamResponse | None"]


def event(kind: str, content: dict[str, Any], state_key: str = "", sender: str = BOT) -> dict[str, Any]:
    return {
        "type": kind,
        "state_key": state_key,
        "content": content,
        "sender": sender,
        "event_id": f"${kind}{state_key}",
    }


@dataclass
class FakeRoom:
    membership: str = "join"
    state: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class FakeHomeserver:
    """Behaves like Synapse where reset looks: memberships, forgetting, devices. ``faults`` by (room id, action)."""

    url: str = ""
    rooms: dict[str, FakeRoom] = field(default_factory=dict)
    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    forced_forget: bool = False
    lists_left_rooms: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    sync_queries: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def room(self, room_id: str, membership: str = "join", *state: dict[str, Any]) -> None:
        self.rooms[room_id] = FakeRoom(membership, list(state))

    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.asked if method != "GET" and path not in ("login", "logout")]

    def memberships(self) -> Counter[str]:
        return Counter(room.membership for room in self.rooms.values())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.asked.append((request.method, path))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            return await self._answer(request, path.split("/"))
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts == ["login"]:
            return self._log_in(await request.json())
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            return refusal(401, "M_UNKNOWN_TOKEN")
        match parts:
            case ["logout"]:
                del self.tokens[token]
                return web.json_response({})
            case ["account", "whoami"]:
                return web.json_response({"user_id": self.tokens[token]})
            case ["capabilities"]:
                capability = {"m.forget_forced_upon_leave": {"enabled": self.forced_forget}}
                return web.json_response({"capabilities": capability})
            case ["joined_rooms"]:
                return web.json_response({"joined_rooms": [r for r, x in self.rooms.items() if x.membership == "join"]})
            case ["sync"]:
                return self._sync(request)
            case ["rooms", room_id, action]:
                return self._room(request, room_id, action)
        return refusal(404, "M_UNRECOGNIZED")

    def _log_in(self, body: dict[str, Any]) -> web.Response:
        if body["password"] != PASSWORD:
            return refusal(403, "M_FORBIDDEN")
        token = f"token of {body['device_id']}"
        self.tokens[token] = BOT
        return web.json_response({"user_id": BOT, "device_id": body["device_id"], "access_token": token})

    def _sync(self, request: web.Request) -> web.Response:
        self.sync_queries.append(request.query["filter"])
        assert json.loads(request.query["filter"])["room"]["include_leave"] is True
        sections: dict[str, Any] = {"join": {}, "invite": {}, "leave": {}, "knock": {}}
        for room_id, room in self.rooms.items():
            if room.membership == "leave" and not self.lists_left_rooms:
                continue
            part = "state" if room.membership in ("join", "leave") else f"{room.membership}_state"
            sections[room.membership][room_id] = {part: {"events": room.state}}
        return web.json_response({"next_batch": "s1", "rooms": sections})

    def _room(self, request: web.Request, room_id: str, action: str) -> web.StreamResponse:
        fault = self.faults.get((room_id, action))
        if fault and (answer := fault(request)) is not None:
            return answer
        room = self.rooms.get(room_id)
        if action == "leave":
            if room is None or room.membership == "leave":
                return refusal(403, "M_FORBIDDEN")
            room.membership = "leave"
            if self.forced_forget:
                del self.rooms[room_id]
        elif room is not None:
            if room.membership != "leave":
                return refusal(400, "M_UNKNOWN")
            del self.rooms[room_id]
        return web.json_response({})


def refusal(status: int, errcode: str, **more: Any) -> web.Response:
    return web.json_response({"errcode": errcode, "error": "no", **more}, status=status)


def html_502(_: web.Request) -> web.Response:
    return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")


def html_200(_: web.Request) -> web.Response:
    return web.Response(text="<html>please log in</html>", content_type="text/html")


def forbidden(_: web.Request) -> web.Response:
    return refusal(403, "M_FORBIDDEN")


def dropped(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeHomeserver]:
    fake = FakeHomeserver()
    app = web.Application()
    app.router.add_route("*", "/_matrix/client/v3/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The bot's settings, its state in a folder of its own."""
    (tmp_path / "bot").mkdir()
    return {
        "MATRIX_HOMESERVER": "http://127.0.0.1:9",
        "MATRIX_USER_ID": BOT,
        "MATRIX_PASSWORD": PASSWORD,
        "MATRIX_DB_PATH": str(tmp_path / "bot" / "bot.db"),
        "MATRIX_STORE_PATH": str(tmp_path / "bot" / "store"),
    }


@pytest.fixture
def online(environ: dict[str, str], server: FakeHomeserver) -> dict[str, str]:
    """The bot's settings, with the fake homeserver."""
    return {**environ, "MATRIX_HOMESERVER": server.url}


@pytest.fixture
def bot_state(environ: dict[str, str]) -> Path:
    """What a bot that ran once leaves: its database, a saved session, key files. Returns the folder."""
    db, store = Path(environ["MATRIX_DB_PATH"]), Path(environ["MATRIX_STORE_PATH"])
    make_database(db)
    store.mkdir()
    (store / "session.json").write_text(json.dumps({"user_id": BOT, "device_id": "D", "access_token": "saved"}))
    for name in ("db", "trusted_devices", "blacklisted_devices", "ignored_devices"):
        (store / f"{BOT}_D.{name}").write_text("")
    return db.parent


def make_database(path: Path, application_id: int = 0x47524E52, table: str = "meta") -> None:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA application_id = {application_id}")
    if table:
        db.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, value TEXT)")
    db.commit()
    db.close()


def refuses(environ: dict[str, str], match: str, **changed: object) -> None:
    """Assert that a local survey with these settings is refused in one line."""
    settings = {**environ, **{key: str(value) for key, value in changed.items()}}
    with pytest.raises(Refused, match=match) as refused:
        local.survey(Paths.from_environ(settings))
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def room_of(plan: Plan, room_id: str) -> RoomStep:
    assert plan.server
    return next(room for room in plan.server.rooms if room.room_id == room_id)


def joined(user: str) -> dict[str, Any]:
    return event("m.room.member", {"membership": "join"}, user)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, to show that nothing changed."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


@dataclass
class Shown:
    """A screen without a terminal, unless `answer` is given. `text` holds everything that it showed."""

    text: io.StringIO = field(default_factory=io.StringIO)
    answer: str | Callable[[], str] | None = None

    async def reset(self, environ: dict[str, str], *modes: str, **options: Any) -> Plan:
        console = Console(file=self.text, highlight=False, soft_wrap=True, width=200)
        if self.answer is not None:
            said = self.answer
            console.input = lambda prompt: said() if callable(said) else said  # type: ignore[method-assign,assignment]
        screen = Screen(json=False, console=console, interactive=self.answer is not None)
        return await reset(Options(frozenset(modes), **options), environ, screen)  # type: ignore[arg-type]


def acknowledged(seen: Shown | str) -> list[str]:
    """The rooms that a run printed as acknowledged by the homeserver."""
    text = seen if isinstance(seen, str) else seen.text.getvalue()
    return re.findall(r"^  acknowledged, .*?: (?:room|Space) (?:\".*\" )?(!\S+)", text, re.M)


@pytest.fixture
def shown() -> Shown:
    return Shown()
