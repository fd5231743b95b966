"""How fast a start is beside the least work that a start needs: `python -m tests.bench.reconcile_bench`.

One Synapse and one bot account get more and more rooms. For each number of rooms three ways take turns several times,
and their medians are printed. *bare*: `GET /sync` with the bot's snapshot filter, plus `json.loads`. *ours*: snapshot,
`joined_rooms`, plan, apply. *naive*: a bot without reconciliation, which does nio's default full sync and then one
state request per room. At the end the memory of the whole live bot is printed, with few and with many rooms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import nio

from greenroom.bot_process import OUR_BOT, BotSettings, matrix_environment
from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.people.accounts import Account, register
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.session import Session
from greenroom_bot.log import configure_logging
from greenroom_bot.matrix.ids import ChatId, UserId
from greenroom_bot.matrix.sync import LiveClient
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.identity import IDENTITY_TYPE, Identity
from greenroom_bot.rooms.recipe import create_body
from greenroom_bot.rooms.reconcile import reconcile_matrix_state
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import SNAPSHOT_FILTER

AT_ONCE = 16


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", default="10,100,1000", help="room counts, ascending (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: %(default)s)")
    args = parser.parse_args()
    configure_logging("error")
    session = Session.begin()
    try:
        async with session.homeserver(HomeserverSettings()) as server:
            bot, owner = await register(server, "bot"), await register(server, "alice")
            made, memory = 0, []
            for count in map(int, args.rooms.split(",")):
                await make_rooms(server, bot, owner, made, count)
                made = count
                await measure(server, bot, count, args.rounds)
                memory.append((count, await bot_memory_mib(session, server, bot)))
            (few, low), (many, high) = memory[0], memory[-1]
            ratio = f"{high / low:.2f}x (target 1.5x)"
            print(f"memory of the live bot: {low:.0f} MiB with {few} rooms, {high:.0f} MiB with {many}: {ratio}")
    finally:
        session.close()


async def make_rooms(server: RunningHomeserver, bot: Account, owner: Account, first: int, upto: int) -> None:
    """Make chats as the bot does, and let their owner join, until there are `upto` rooms."""
    turn = asyncio.Semaphore(AT_ONCE)
    async with MatrixApi(server.url) as api:

        async def make(number: int) -> None:
            identity = Identity(
                kind="chat",
                chat_id=ChatId(f"C{number}"),
                owner=UserId(owner.user_id),
                space_id=None,
                instance="default",
                request=f"bench:{number}",
                title=f"Chat {number}",
            )
            body = create_body(identity, UserId(bot.user_id), room_version="12", encrypted=False)
            async with turn:
                room = (await api.call("POST", path("createRoom"), json=body, token=bot.access_token))["room_id"]
                await api.call("POST", path("join", room), json={}, token=owner.access_token)

        await asyncio.gather(*(make(n) for n in range(first + 1, upto + 1)))


async def measure(server: RunningHomeserver, bot: Account, count: int, rounds: int) -> None:
    """Time the three ways in turn, and print their medians and ratios."""
    requests: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "bare": lambda: bare(server, bot),
            "ours": lambda: ours(server, bot, Path(folder), requests),
            "naive": lambda: naive(server, bot),
        }
        await ours(server, bot, Path(folder), set())  # fills the database: the measured starts are normal restarts
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                await way()
                took[name].append(time.perf_counter() - started)
    bare_s, ours_s, naive_s = (statistics.median(took[name]) for name in ways)
    print(
        f"{count:5} rooms: bare {bare_s * 1000:6.0f} ms, ours {ours_s * 1000:6.0f} ms, naive {naive_s * 1000:6.0f} ms; "
        f"ours/bare {ours_s / bare_s:.2f}x (target 1.5x), ours/naive {ours_s / naive_s:.2f}x (target 0.6x); "
        f"HTTP requests {sorted(requests)}",
        flush=True,
    )


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


async def ours(server: RunningHomeserver, bot: Account, folder: Path, requests: set[int]) -> None:
    """Start as the bot does, from an open session to reconciled records."""
    client = LiveClient(server.url, bot.user_id, store_path=str(folder))
    store = SQLiteStore(folder / "bench.db")
    try:
        client.restore_login(bot.user_id, bot.device_id, bot.access_token)
        client.read_only = True
        await client.sync(timeout=0, sync_filter=SNAPSHOT_FILTER, full_state=True)
        report = await reconcile_matrix_state(client, store, ChatManager(client, store))
        assert sum(report["outcomes"].values()) == report["rooms_seen"]
        requests.add(client.requests)
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


async def bot_memory_mib(session: Session, server: RunningHomeserver, bot: Account) -> float:
    """Return the resident memory of a bot that has just gone live after a restart on filled records."""
    folder = session.run.new_folder("bot")
    settings = BotSettings(OUR_BOT, folder, matrix_environment(server, bot, folder), ready_timeout_s=120)
    async with settings.running(session.run) as running:
        await running.restart()
        status = Path(f"/proc/{running.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
