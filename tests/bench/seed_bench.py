"""How fast a blueprint is seeded, beside bare HTTP loops that write the same.

Each way fills a fresh homeserver with the blueprint `large`: two accounts, a Space, and chats with two members. Ours is
`seed(...)` as `dev` calls it; it also surveys the server first, so that it could complete a seeding that was killed.
The *bare concurrent loop* makes the same writes with the same bodies, and as many at once as ours. It checks only the
status. The *bare sequential loop* makes them one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import sys
from typing import Any

import aiohttp

from greenroom.errors import HarnessError
from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.people.matrix_api import path
from greenroom.seed import seed
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint
from greenroom.seed.resolve import Names, child_event, create_room_body
from greenroom.seed.seeder import SIDE_BY_SIDE
from greenroom.session import Session
from tests.bench.report import Report
from tests.bench.seeded import BLUEPRINT
from tests.bench.side_by_side import main, seconds, take_turns

REGISTER = "/_synapse/admin/v1/register"


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Let the three ways take turns, each on a homeserver of its own."""
    report.sizes = "rooms"
    blueprint = load_blueprint(BLUEPRINT, {"rooms": options.rooms})
    session = Session.begin(backend=options.backend)

    async def ours() -> float:
        async with session.homeserver(HomeserverSettings()) as server:
            return await seconds(seed(server, blueprint))

    async def bare(at_once: int) -> float:
        async with session.homeserver(HomeserverSettings()) as server:
            return await seconds(bare_loop(server, blueprint, at_once))

    try:
        ways = {
            "greenroom": ours,
            "bare concurrent loop": lambda: bare(SIDE_BY_SIDE),
            "bare sequential loop": lambda: bare(1),
        }
        figures = report.timed(await take_turns(ways, options.rounds), size=options.rooms)
    finally:
        session.close()
    mine = figures["greenroom"]
    report.target("seeding, beside a concurrent loop", mine, figures["bare concurrent loop"], at_least=0.9)
    report.target("seeding, beside a sequential loop", mine, figures["bare sequential loop"], at_least=1.35)


async def bare_loop(server: RunningHomeserver, blueprint: Blueprint, at_once: int) -> None:
    """Register the people, make the rooms without children, then those that refer to them."""
    async with aiohttp.ClientSession() as http:
        loop = BareLoop(server, blueprint, http)
        for person in blueprint.people:
            await loop.register(person.name, person.displayname or person.name)
        turn = asyncio.Semaphore(at_once)

        async def make(key: str) -> None:
            async with turn:
                await loop.make(key)

        chats = [room.key for room in blueprint.rooms if room.key not in ("space", "direct")]
        await asyncio.gather(make("space"), make("direct"))
        await asyncio.gather(*(make(key) for key in chats))
        await loop.note_direct("alice", "bot")
        await loop.note_direct("bot", "alice")


class BareLoop:
    """The calls of one seeding, with nothing around them."""

    def __init__(self, server: RunningHomeserver, blueprint: Blueprint, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.blueprint = blueprint
        self.http = http
        self.tokens: dict[str, str] = {}
        self.room_ids: dict[str, str] = {}
        self.names = Names(server.server_name, self.room_ids)

    async def call(self, method: str, where: str, body: Any, person: str = "") -> Any:
        """Make one call, and return the body of its 200."""
        headers = {"Authorization": f"Bearer {self.tokens[person]}"} if person else {}
        async with self.http.request(method, self.server.url + where, json=body, headers=headers) as answer:
            if answer.status != 200:
                raise HarnessError(f"{method} {where}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def register(self, name: str, displayname: str) -> None:
        """Register a person by the shared secret."""
        assert self.server.registration is not None
        nonce = (await self.call("GET", REGISTER, None))["nonce"]
        signed = "\0".join((nonce, name, "secret", "notadmin"))
        mac = hmac.new(self.server.registration.secret.encode(), signed.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": "secret", "displayname": displayname, "mac": mac}
        self.tokens[name] = (await self.call("POST", REGISTER, body))["access_token"]

    async def make(self, key: str) -> None:
        """Make a room, let its members join, and list it in the Space if it refers to that."""
        room = self.blueprint.room(key)
        body = create_room_body(self.blueprint, room, self.names, [])
        room_id = (await self.call("POST", path("createRoom"), body, room.creator))["room_id"]
        self.room_ids[key] = room_id
        for name in room.joining:
            await self.call("POST", path("rooms", room_id, "join"), {}, name)
        if key in self.blueprint.room("space").children:
            event = child_event(self.names, key)
            where = path("rooms", self.room_ids["space"], "state", event["type"], event["state_key"])
            await self.call("PUT", where, event["content"], room.creator)

    async def note_direct(self, person: str, other: str) -> None:
        """Write a person's `m.direct`."""
        where = path("user", self.names.user(person), "account_data", "m.direct")
        await self.call("PUT", where, {self.names.user(other): [self.room_ids["direct"]]}, person)


if __name__ == "__main__":
    sys.exit(main("seed", __doc__, measure, rounds=3, rooms=40, backend="process"))
