"""How far the records and the homeserver are apart: the start-up plan, shown and not carried out."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from nio import SyncResponse, WhoamiResponse

from greenroom_bot.config import Config
from greenroom_bot.matrix.client import Client, ok
from greenroom_bot.matrix.errors import BotError, CannotTell, ConfigError, MatrixError, is_session_over, session_over
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_bot.matrix.session import Session, authenticate
from greenroom_bot.rooms.planner import Plan, plan
from greenroom_bot.rooms.reconcile import fetch_view
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import SNAPSHOT_FILTER

log = structlog.get_logger()

IN_STEP, DRIFT = 0, 1
CHECK_LIMIT_S = 120.0


async def check(config: Config, *, as_json: bool = False) -> int:
    """Print the drift report; return 0 in step, 1 drift. Read-only on both sides, also beside a running bot.

    Raises CannotTell (exit 3) when the homeserver cannot be asked or the database cannot be read, and CredentialsError
    or ConfigError as the bot itself would.
    """
    rows, interrupted = _records(config.db_path)
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            decided = await _decide(config, rows, interrupted)
    except (MatrixError, TimeoutError) as why:
        if is_session_over(why):
            raise session_over(why) from why
        raise CannotTell(f"cannot tell: {config.homeserver} gave no usable answer: {why or 'timed out'}") from why
    report = {"in_step": decided.in_step, **decided.report()}
    print(json.dumps(report) if as_json else _text(config, report))
    return IN_STEP if decided.in_step else DRIFT


def _records(db_path: Path) -> tuple[dict[RoomId, RoomRow], list[str]]:
    if not db_path.exists():
        return {}, []
    try:
        store = SQLiteStore(db_path, read_only=True)
        try:
            return store.rooms(), [i.request for i in store.intents()]
        finally:
            store.close()
    except (BotError, OSError, ValueError, sqlite3.Error) as why:
        raise CannotTell(f"cannot tell: the database {db_path} cannot be read: {why}") from why


async def _decide(config: Config, rows: dict[RoomId, RoomRow], interrupted: list[str]) -> Plan:
    """Ask with the bot's saved session; without one, with a device made for this check and logged out afterwards."""
    saved = Session.load(config.store_path)
    with tempfile.TemporaryDirectory(prefix="greenroom-check-") as scratch:
        client = Client(config.homeserver, config.user_id, store_path=scratch)
        client.read_only = True
        borrowed = bool(config.access_token or (saved and saved.access_token))
        try:
            if borrowed:
                client.access_token = config.access_token or (saved.access_token if saved else "")
                me = await ok(client.whoami(), WhoamiResponse)
                if me.user_id != config.user_id:
                    raise ConfigError(f"the session belongs to {me.user_id}, MATRIX_USER_ID is {config.user_id}")
                client.user_id = UserId(me.user_id)
            else:
                ours = replace(config, store_path=Path(scratch))
                await authenticate(client, ours, known_device=None, device_name="Greenroom check")
            snapshot: Any = await ok(client.sync(timeout=0, sync_filter=SNAPSHOT_FILTER, full_state=True), SyncResponse)
            view = await fetch_view(client, snapshot)
            return plan(view, rows, instance=config.instance, interrupted=interrupted)
        finally:
            try:
                if client.access_token and not borrowed:
                    await client.request("POST", "logout")
            except MatrixError as why:
                log.warning("device_left_behind", device_id=client.device_id, seen=str(why))
            finally:
                await client.close()


def _text(config: Config, report: dict[str, Any]) -> str:
    verdict = "in step" if report["in_step"] else "DRIFT"
    counts = ", ".join(f"{name} {n}" for name, n in report["outcomes"].items() if n)
    lines = [f"{config.user_id} on {config.homeserver}: {verdict}; {report['rooms_seen']} rooms: {counts or 'none'}"]
    if report["degraded"]:
        lines.append("  joined_rooms could not be fetched: nothing can be said about rooms that are missing")
    for room in report["rooms"]:
        words = [room["outcome"], room.get("reason", ""), room.get("detail", ""), ", ".join(room.get("changes", []))]
        lines.append(f"  {room['room_id']}  {'; '.join(word for word in words if word)}")
    return "\n".join(lines)
