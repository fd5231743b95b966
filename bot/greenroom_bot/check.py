"""How far the records and the homeserver are apart: the start-up plan, shown and not carried out."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import structlog

from greenroom_bot.config import Config
from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import BotError, CannotTell, MatrixError
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.rooms.current import check_device, current_view
from greenroom_bot.rooms.planner import RULES, Plan, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import ServerView

log = structlog.get_logger()

IN_STEP, DRIFT = 0, 1
CHECK_LIMIT_S = 120.0


async def check(config: Config, *, as_json: bool = False) -> int:
    """Print the drift report; return 0 in step, 1 drift. Read-only on both sides, also beside a running bot.

    Raises CannotTell (exit 3) when the homeserver cannot be asked or the database cannot be read, and CredentialsError
    or ConfigError as the bot itself would. Raises CannotTell too where all that is seen agrees, and the homeserver may
    have told of an old state.
    """
    rows, interrupted = _records(config)
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            decided, view, doubt = await _decide(config, rows, interrupted)
    except (MatrixError, TimeoutError) as error:
        seen = str(error) or f"nothing within {CHECK_LIMIT_S:g} s"
        raise CannotTell(f"cannot tell: {config.homeserver} gave no usable answer: {seen}") from error
    if doubt and decided.in_step:
        raise CannotTell(f"cannot tell: records and joined rooms agree, but {doubt}")
    report = {"in_step": decided.in_step, "doubt": doubt or None, **decided.report()}
    report["rooms"] = [_named(room, view) for room in report["rooms"]]
    print(json.dumps(report) if as_json else _text(config, report))
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


async def _decide(config: Config, rows: dict[RoomId, RoomRow], interrupted: list[str]) -> tuple[Plan, ServerView, str]:
    """Ask with the bot's saved session or token; without one, with a device made for this check and then signed out.

    A session that the homeserver no longer knows raises SessionOver: what the check sees without it, the bot would not.
    Return the plan, the view that it is made from, and in words what that view cannot tell.
    """

    def warn(device_id: str, text: str) -> None:
        log.warning("device_left_behind", device_id=device_id, seen=text)

    async with Client(config.homeserver, config.user_id, store_path="") as client:
        client.read_only = True
        async with check_device(client, config.credentials, warn):
            view, doubt = await current_view(client, config.credentials, rows, warn)
            return plan(view, rows, instance=config.instance, interrupted=interrupted), view, doubt


def _named(room: dict[str, Any], view: ServerView) -> dict[str, Any]:
    """Return a room of the report with its name, if it has one, and with what its outcome means."""
    seen = view.rooms.get(room["room_id"])
    name = {"name": seen.name} if seen and seen.name else {}
    return {**room, **name, "rule": RULES[room["outcome"]]}


def _text(config: Config, report: dict[str, Any]) -> str:
    verdict = "in step" if report["in_step"] else "DRIFT"
    most_first = sorted(report["outcomes"].items(), key=lambda counted: -counted[1])
    counts = ", ".join(f"{name} {n}" for name, n in most_first if n)
    lines = [f"{config.user_id} on {config.homeserver}: {verdict}; {report['rooms_seen']} rooms: {counts or 'none'}"]
    if report["degraded"]:
        lines.append("  joined_rooms could not be fetched: nothing can be said about rooms that are missing")
    if report["doubt"]:
        lines.append(f"  {report['doubt']}")
    for room in report["rooms"]:
        words = [room["outcome"], room.get("reason", ""), room.get("detail", ""), ", ".join(room.get("changes", []))]
        words.append(f'"{room["name"]}"' if "name" in room else "")
        lines.append(f"  {room['room_id']}  {'; '.join(word for word in words if word)}")
    return "\n".join(lines)
