"""How far the records and the homeserver are apart: the start-up plan, shown and not carried out."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from contextlib import closing
from typing import Any

import structlog

from greenroom_bot.config import Config
from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import BotError, CannotTell, MatrixError
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.matrix.session import signed_in
from greenroom_bot.rooms.planner import Plan, plan
from greenroom_bot.rooms.reconcile import fetch_view
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import SNAPSHOT_FILTER, ServerView

log = structlog.get_logger()

IN_STEP, DRIFT = 0, 1
CHECK_LIMIT_S = 120.0


async def check(config: Config, *, as_json: bool = False) -> int:
    """Print the drift report; return 0 in step, 1 drift. Read-only on both sides, also beside a running bot.

    Raises CannotTell (exit 3) when the homeserver cannot be asked or the database cannot be read, and CredentialsError
    or ConfigError as the bot itself would.
    """
    rows, interrupted = _records(config)
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            decided, view = await _decide(config, rows, interrupted)
    except (MatrixError, TimeoutError) as error:
        seen = str(error) or f"nothing within {CHECK_LIMIT_S:g} s"
        raise CannotTell(f"cannot tell: {config.homeserver} gave no usable answer: {seen}") from error
    report = {"in_step": decided.in_step, **decided.report()}
    print(json.dumps(report) if as_json else _text(config, report, view))
    return IN_STEP if decided.in_step else DRIFT


def _records(config: Config) -> tuple[dict[RoomId, RoomRow], list[str]]:
    """Return the rows and the interrupted requests. Raises CannotTell for a database that the bot would refuse."""
    if not config.db_path.exists():
        return {}, []
    try:
        with closing(SQLiteStore(config.db_path, read_only=True)) as store:
            if store.created:
                return {}, []
            store.check_account(config.user_id)
            return store.rooms(), [i.request for i in store.intents()]
    except (BotError, OSError, ValueError, sqlite3.Error) as error:
        raise CannotTell(f"cannot tell: the database {config.db_path} cannot be read: {error}") from error


async def _decide(config: Config, rows: dict[RoomId, RoomRow], interrupted: list[str]) -> tuple[Plan, ServerView]:
    """Ask with the bot's saved session or token; without one, with a device made for this check and then signed out.

    A session that the homeserver no longer knows raises SessionOver: what the check sees without it, the bot would not.
    """
    device_id = f"GREENROOM_CHECK_{secrets.token_hex(4)}"
    async with Client(config.homeserver, config.user_id, store_path="") as client:
        client.read_only = True
        async with signed_in(
            client,
            config.credentials,
            device_id=device_id,
            device_name="Greenroom check",
            warn=lambda text: log.warning("device_left_behind", device_id=device_id, seen=text),
            fallback=False,
        ):
            snapshot = await client.sync(timeout=0, full_state=True, sync_filter=SNAPSHOT_FILTER)
            view = await fetch_view(client, snapshot)
            return plan(view, rows, instance=config.instance, interrupted=interrupted), view


def _text(config: Config, report: dict[str, Any], view: ServerView) -> str:
    verdict = "in step" if report["in_step"] else "DRIFT"
    most_first = sorted(report["outcomes"].items(), key=lambda counted: -counted[1])
    counts = ", ".join(f"{name} {n}" for name, n in most_first if n)
    lines = [f"{config.user_id} on {config.homeserver}: {verdict}; {report['rooms_seen']} rooms: {counts or 'none'}"]
    if report["degraded"]:
        lines.append("  joined_rooms could not be fetched: nothing can be said about rooms that are missing")
    for room in report["rooms"]:
        words = [room["outcome"], room.get("reason", ""), room.get("detail", ""), ", ".join(room.get("changes", []))]
        seen = view.rooms.get(room["room_id"])
        words.append(f'"{seen.name}"' if seen and seen.name else "")
        lines.append(f"  {room['room_id']}  {'; '.join(word for word in words if word)}")
    return "\n".join(lines)
