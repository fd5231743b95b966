"""The scene that most tests of the reference bot begin with: a person, the bot, and the person's Space and first chat.

Also what only this bot has: its identity events, its records, and the words of its log.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom import must
from greenroom.bot_process import RunningBot
from greenroom.checks import SeenCheck, state
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.people.person import Person
from greenroom.waiting import DEFAULT_TIMEOUT_S

IDENTITY = "dev.greenroom.chat"


@dataclass
class Scene:
    """The rooms of one person. `direct`: the bot was invited there. `space`, `chat`: the bot made them."""

    bot: RunningBot
    direct: str
    space: str
    chat: str


def identity(kind: str, **wanted: object) -> SeenCheck[str]:
    """Return a check for a joined room with the bot's identity event of that kind. Its result is the room id."""
    return state(IDENTITY, lambda content: content.items() >= {"kind": kind, **wanted}.items())


async def set_up(
    person: Person, bot: RunningBot, *, encrypted: bool = False, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Scene:
    """Invite the bot to a direct chat, wait for its greeting, and join the Space and the chat that it made."""
    direct = await person.create_direct(bot.user_id, encrypted=encrypted)
    await must.say(person, bot, direct, containing="Hello!", timeout_s=timeout_s)
    await person.join_invites()
    a_space, a_chat = identity("space", owner=person.user_id), identity("chat", owner=person.user_id, chat_id="C1")
    space = await must.see(person, a_space, watch=[bot], timeout_s=timeout_s)
    chat = await must.see(person, a_chat, watch=[bot], timeout_s=timeout_s)
    return Scene(bot, direct, space, chat)


async def said(person: Person, bot: RunningBot, room: str, limit: int = 100) -> list[str]:
    """Return the texts of all messages of the bot in a room, oldest first, as the homeserver has them."""
    return [m["content"]["body"] for m in await person.messages(room, limit) if m["sender"] == bot.user_id]


async def finish(bot: RunningBot) -> None:
    """Stop the bot, and check that it left no work undone: nothing more can come about what it had received."""
    assert await bot.stop() == 0
    (end,) = bot.events("matrix_stopped")
    assert end["undone"] == 0


async def devices(bot: RunningBot) -> dict[str, str]:
    """Return the devices of the bot's account, id -> display name. The bot's own session asks: no device is added."""
    session = json.loads(Path(bot.env["MATRIX_STORE_PATH"], "session.json").read_text())
    async with MatrixApi(bot.env["MATRIX_HOMESERVER"]) as api:
        answer = await api.call("GET", path("devices"), token=session["access_token"])
    return {device["device_id"]: device["display_name"] for device in answer["devices"]}


def mapping(bot: RunningBot) -> list[tuple[str, str, str]]:
    """Return the records by which the bot routes messages, sorted: (room id, chat id, owner). The bot may run."""
    with closing(sqlite3.connect(f"file:{bot.env['MATRIX_DB_PATH']}?mode=ro", uri=True)) as db:
        return sorted(db.execute("SELECT room_id, chat_id, owner FROM rooms WHERE kind != 'direct'").fetchall())


async def lose_row(person: Person, bot: RunningBot, room: str) -> None:
    """Delete the row of one room from the database of a running bot.

    The bot looks at a room again when somebody has joined it, and that look would restore the row. The look is queued
    at the end of a sync, behind the messages of that sync. So two questions are asked first: the second comes in a
    later sync, and its answer proves that the look is over.
    """
    await must.answer(person, bot, room, "is that all?")
    await must.answer(person, bot, room, "really?")
    with closing(sqlite3.connect(bot.env["MATRIX_DB_PATH"], isolation_level=None)) as db:
        assert db.execute("DELETE FROM rooms WHERE room_id = ?", (room,)).rowcount == 1


def lose_database(bot: RunningBot) -> None:
    """Delete the bot's database with its side files."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(bot.env["MATRIX_DB_PATH"] + suffix).unlink(missing_ok=True)


def outcomes(bot: RunningBot) -> dict[str, dict[str, Any]]:
    """Return what the latest start reported, by room, about rooms that were neither unchanged nor skipped."""
    return {entry["room_id"]: entry for entry in bot.events("room_drifted")}


def start_report(bot: RunningBot) -> dict[str, Any]:
    """Return the reconciliation report of the latest start."""
    (found,) = bot.events("matrix_reconcile_complete")
    return found


def counters(bot: RunningBot) -> dict[str, int]:
    """Return the counters above zero of the latest reconciliation report, after checking the report itself."""
    return sound_counters(start_report(bot))


def sound_counters(report: dict[str, Any]) -> dict[str, int]:
    """Return the counters above zero of a report, after checking that they add up and that nothing was written."""
    assert sum(report["outcomes"].values()) == report["rooms_seen"]
    assert report["server_writes"] == 0
    return {name: n for name, n in report["outcomes"].items() if n}
