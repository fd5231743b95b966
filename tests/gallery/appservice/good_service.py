"""A small application service that keeps its promises. Each bad one of this folder is this service with one fault.

It joins rooms that its owner (BOT_OWNER; without it, anybody) invites it or one of its ghosts to, and answers
`!echo WORD` with WORD, as whoever of them is in the room. Its state is one JSON file: the transactions and questions
that it has handled, its ghosts, and who of its users is in which room.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

STATE = Path(os.environ["MATRIX_DB_PATH"]).with_suffix(".json")
HOMESERVER = os.environ["MATRIX_HOMESERVER"]
ME = os.environ["MATRIX_USER_ID"]
OWNER = os.environ.get("BOT_OWNER")
TRIES = 20


class Service:
    """The good service. A bad one overrides a method."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"transactions": [], "handled": [], "ghosts": [], "rooms": {}}
        if STATE.exists():
            self.state = json.loads(STATE.read_text())
        self.one_at_a_time = asyncio.Lock()

    def save(self) -> None:
        draft = STATE.with_suffix(".new")
        draft.write_text(json.dumps(self.state))
        draft.replace(STATE)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_put("/_matrix/app/v1/transactions/{id}", self.transaction)
        app.router.add_get("/_matrix/app/v1/users/{user_id}", self.user)
        app.router.add_post("/_matrix/app/v1/ping", self.ping)
        app.cleanup_ctx.append(self.session)
        return app

    async def session(self, app: web.Application) -> Any:
        token = {"Authorization": f"Bearer {os.environ['AS_TOKEN']}"}
        async with aiohttp.ClientSession(headers=token) as self.client:
            yield

    # -- what the homeserver asks

    def refusal(self, request: web.Request) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return web.json_response({"errcode": "M_UNAUTHORIZED", "error": "no token"}, status=401)
        if token != os.environ["HS_TOKEN"]:
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "wrong token"}, status=403)
        return None

    async def ping(self, request: web.Request) -> web.Response:
        return self.refusal(request) or web.json_response({})

    async def user(self, request: web.Request) -> web.Response:
        if refusal := self.refusal(request):
            return refusal
        user_id = request.match_info["user_id"]
        if not user_id.startswith("@bot_"):
            return web.json_response({"errcode": "M_NOT_FOUND", "error": "no ghost"}, status=404)
        await self.make(user_id)
        return web.json_response({})

    async def transaction(self, request: web.Request) -> web.Response:
        if refusal := self.refusal(request):
            return refusal
        async with self.one_at_a_time:  # the homeserver repeats a transaction whose answer takes long
            if not self.is_known(request.match_info["id"]):
                for event in (await request.json())["events"]:
                    await self.handle(event)
                self.state["transactions"].append(request.match_info["id"])
                self.save()
        return web.json_response({})

    def is_known(self, transaction: str) -> bool:
        return transaction in self.state["transactions"]

    # -- events

    async def handle(self, event: dict[str, Any]) -> None:
        content = event["content"]
        if event["type"] == "m.room.member" and content.get("membership") == "invite":
            await self.invited(event["room_id"], event["state_key"], event["sender"])
        elif event["type"] == "m.room.message" and content.get("msgtype") == "m.text":
            body = str(content.get("body", ""))
            if body.startswith("!echo ") and event["event_id"] not in self.state["handled"]:
                await self.answer(event, body.removeprefix("!echo "))
                self.state["handled"].append(event["event_id"])
                self.save()

    async def invited(self, room_id: str, user_id: str, sender: str) -> None:
        ours = user_id == ME or user_id in self.state["ghosts"]
        if ours and OWNER in (None, sender):
            await self.ask("POST", f"/rooms/{quote(room_id)}/join", user_id, {})
            self.state["rooms"][room_id] = user_id
            self.save()

    async def answer(self, event: dict[str, Any], text: str) -> None:
        room_id = event["room_id"]
        where = f"/rooms/{quote(room_id)}/send/m.room.message/{quote(event['event_id'], safe='')}"
        await self.ask("PUT", where, self.state["rooms"].get(room_id, ME), {"msgtype": "m.notice", "body": text})

    async def make(self, user_id: str) -> None:
        if user_id not in self.state["ghosts"]:
            localpart = user_id[1:].partition(":")[0]
            body = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
            await self.ask("POST", "/register", None, body)
            self.state["ghosts"].append(user_id)
            self.save()

    async def ask(self, method: str, path: str, user_id: str | None, body: dict[str, Any]) -> None:
        url = f"{HOMESERVER}/_matrix/client/v3{path}"
        params = {"user_id": user_id} if user_id else {}
        for attempt in range(TRIES):
            try:
                async with self.client.request(method, url, json=body, params=params) as answer:
                    said = await answer.json(content_type=None)
                    if answer.status < 300 or (400 <= answer.status < 500 and answer.status != 429):
                        return
                    wait_s = said.get("retry_after_ms", 200) / 1000 if isinstance(said, dict) else 0.2
            except (aiohttp.ClientError, TimeoutError, ValueError):
                wait_s = 0.2
            await asyncio.sleep(wait_s * min(attempt + 1, 5))
        raise RuntimeError(f"{method} {path}: gave up after {TRIES} tries")


def main(service: type[Service] = Service) -> None:
    web.run_app(service().app(), host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, shutdown_timeout=2)


if __name__ == "__main__":
    main()
