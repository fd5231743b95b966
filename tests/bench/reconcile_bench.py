"""How fast a normal restart of the bot is ready, beside the least work that a start needs.

For each number of rooms three ways take turns on one homeserver. *bare*: `GET /sync` with the bot's snapshot filter,
plus `json.loads`. *ours*: snapshot, `joined_rooms`, plan, apply, on a filled database. *naive*: a bot without
reconciliation, which does nio's default full sync and then one state request per room. The HTTP requests of ours are
counted too: their number may not depend on the rooms.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import nio

from greenroom.homeserver import RunningHomeserver
from greenroom.people.accounts import Account
from greenroom.session import Session
from greenroom_bot.log import configure_logging
from greenroom_bot.matrix.sync import LiveClient
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.identity import IDENTITY_TYPE
from greenroom_bot.rooms.reconcile import reconcile_matrix_state
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import SNAPSHOT_FILTER
from tests.bench.report import Figure, Report
from tests.bench.seeded import homeserver_with
from tests.bench.side_by_side import counts, main, say, seconds, take_turns


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Measure with each number of rooms. The targets are for the largest."""
    configure_logging("error")
    report.sizes = "rooms"
    session = Session.begin(backend="process")
    try:
        sizes = [await measure_with(report, session, count, options.rounds) for count in counts(options.rooms)]
    finally:
        session.close()
    few, many = sizes[0], sizes[-1]
    report.target("restart to ready, beside a bare sync", many["ours"], many["bare"], at_most=1.5)
    report.target("restart to ready, beside a naive start", many["ours"], many["naive"], at_most=0.6)
    report.target("HTTP requests, most rooms beside fewest", many["requests"], few["requests"], at_most=1.0)


async def measure_with(report: Report, session: Session, count: int, rounds: int) -> dict[str, Figure]:
    """Let the three ways take turns on a homeserver with that many rooms; return their figures."""
    say(f"  {count} rooms")
    async with homeserver_with(session, count) as (server, bot):
        with tempfile.TemporaryDirectory() as folder:
            requests: list[int] = []
            start = partial(ours, server, bot, Path(folder), requests)
            await start()  # fills the database: the measured starts are normal restarts
            ways = {
                "ours": lambda: seconds(start()),
                "bare": lambda: seconds(bare(server, bot)),
                "naive": lambda: seconds(naive(server, bot)),
            }
            figures = report.timed(await take_turns(ways, rounds), size=count)
    return {**figures, "requests": report.figure("HTTP requests of ours", requests, "requests", count)}


async def bare(server: RunningHomeserver, bot: Account) -> None:
    """Make one request and read its JSON."""
    query = urlencode(
        {"full_state": "true", "timeout": "0", "filter": json.dumps(SNAPSHOT_FILTER, separators=(",", ":"))}
    )
    headers = {"Authorization": f"Bearer {bot.access_token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{server.url}/_matrix/client/v3/sync?{query}") as response,
    ):
        assert json.loads(await response.read())["next_batch"]


async def ours(server: RunningHomeserver, bot: Account, folder: Path, requests: list[int]) -> None:
    """Start as the bot does, from an open session to reconciled records."""
    client = LiveClient(server.url, bot.user_id, store_path=str(folder))
    store = SQLiteStore(folder / "bench.db")
    try:
        client.restore_login(bot.user_id, bot.device_id, bot.access_token)
        client.read_only = True
        await client.sync(timeout=0, sync_filter=SNAPSHOT_FILTER, full_state=True)
        report = await reconcile_matrix_state(client, store, ChatManager(client, store))
        assert sum(report["outcomes"].values()) == report["rooms_seen"]
        requests.append(client.requests)
    finally:
        await client.close()
        store.close()


async def naive(server: RunningHomeserver, bot: Account) -> None:
    """Make nio's default full sync, then one state request per room."""
    client = nio.AsyncClient(server.url, bot.user_id)
    try:
        client.restore_login(bot.user_id, bot.device_id, bot.access_token)
        await client.sync(timeout=0, full_state=True)
        for room_id in client.rooms:
            await client.room_get_state_event(room_id, IDENTITY_TYPE)
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(main("reconcile", __doc__, measure, rounds=5, rooms="10,100,1000"))
