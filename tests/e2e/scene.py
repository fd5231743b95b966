"""A scene that most bot tests begin with: a person, the bot, and the person's Space and first chat."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.bot_process import RunningBot
from greenroom.checks import SeenCheck, message, state
from greenroom.people.person import Person
from greenroom.people.seen import SeenEvent
from greenroom.waiting import DEFAULT_TIMEOUT_S

IDENTITY = "dev.greenroom.chat"


@dataclass
class Scene:
    """``direct``: where the bot was invited. ``space`` and ``chat``: what it made; the person has joined both."""

    bot: RunningBot
    direct: str
    space: str
    chat: str


def identity(kind: str, **wanted: object) -> SeenCheck[str]:
    """A joined room with the bot's identity event of that kind; gives its id."""
    return state(IDENTITY, lambda content: content.items() >= {"kind": kind, **wanted}.items())


async def set_up(
    person: Person, bot: RunningBot, *, encrypted: bool = False, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Scene:
    """Invite the bot to a direct chat, wait for its greeting, and accept the Space and the chat."""
    direct = await person.create_direct(bot.user_id, encrypted=encrypted)
    greeting = message(sender=bot.user_id, room=direct, containing="Hello!")
    await person.until(greeting, timeout_s=timeout_s, watch=[bot])
    await person.join_invites()
    space = await person.until(identity("space", owner=person.user_id), timeout_s=timeout_s, watch=[bot])
    chat = await person.until(identity("chat", owner=person.user_id, chat_id="C1"), timeout_s=timeout_s, watch=[bot])
    return Scene(bot, direct, space, chat)


async def ask(
    person: Person,
    bot: RunningBot,
    room: str,
    text: str,
    *,
    says: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> SeenEvent:
    """Say something and wait for the bot's next message in that room (``says``: containing this)."""
    sent = await person.send_text(room, text)
    wanted = message(sender=bot.user_id, room=room, after=sent, containing=says)
    return await person.until(wanted, timeout_s=timeout_s, watch=[bot])


async def finish(bot: RunningBot) -> None:
    """Stop the bot when it has done all that it had in hand: whatever it wanted to say about it is said now."""
    assert await bot.stop() == 0
    (end,) = bot.events("matrix_stopped")
    assert end["undone"] == 0


def mapping(bot: RunningBot) -> list[tuple[str, str, str]]:
    """The bot's records as they decide routing: (room id, chat id, owner), sorted. Read beside the running bot."""
    with closing(sqlite3.connect(f"file:{bot.env['MATRIX_DB_PATH']}?mode=ro", uri=True)) as db:
        return sorted(db.execute("SELECT room_id, chat_id, owner FROM rooms WHERE kind != 'direct'").fetchall())


async def lose_row(person: Person, bot: RunningBot, room: str) -> None:
    """Take one room out of the bot's records behind its back, when it is through with what came before: somebody's
    joining is a reason to look at the room, and would bring the row back.

    That look is queued at the end of a sync, behind the messages that came in it. The second question comes in a later
    one, so its answer comes after that look.
    """
    await ask(person, bot, room, "is that all?")
    await ask(person, bot, room, "really?")
    with closing(sqlite3.connect(bot.env["MATRIX_DB_PATH"], isolation_level=None)) as db:
        assert db.execute("DELETE FROM rooms WHERE room_id = ?", (room,)).rowcount == 1


def lose_database(bot: RunningBot) -> None:
    """Delete the bot's database with its side files."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(bot.env["MATRIX_DB_PATH"] + suffix).unlink(missing_ok=True)


def outcomes(bot: RunningBot) -> dict[str, dict[str, Any]]:
    """What the latest start-up reconciliation said of each room that was neither unchanged nor skipped."""
    return {entry["room_id"]: entry for entry in bot.events("room_drifted")}


def counters(bot: RunningBot) -> dict[str, int]:
    """The non-zero counters of the latest start-up reconciliation, after checking that they add up."""
    (report,) = bot.events("matrix_reconcile_complete")
    assert sum(report["outcomes"].values()) == report["rooms_seen"]
    assert report["server_writes"] == 0
    return {name: n for name, n in report["outcomes"].items() if n}
