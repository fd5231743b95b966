"""What must happen: `from greenroom import must`, then `await must.answer(alice, bot, room, "!ping", "pong")`.

Each function waits for one thing and raises NotMet, an AssertionError, if it does not happen in time. If the bot or
the server dies meanwhile, the function raises Died at once. Both messages contain the bot's last log lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, TypeVar

from greenroom import checks
from greenroom.bot_process import RunningBot
from greenroom.errors import Died, NotMet
from greenroom.people.person import Person
from greenroom.people.seen import SeenEvent
from greenroom.waiting import DEFAULT_TIMEOUT_S, Alive, NotYet, scaled, until

T = TypeVar("T")


async def see(
    person: Person, check: checks.SeenCheck[T], *, watch: Iterable[Alive] = (), timeout_s: float = DEFAULT_TIMEOUT_S
) -> T:
    """Wait until a person sees something. Return what the check returns."""
    __tracebackhide__ = True
    return await person.until(check, watch=watch, timeout_s=timeout_s)


async def answer(
    person: Person,
    bot: RunningBot,
    room: str,
    text: str,
    says: str | None = None,
    *,
    containing: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> SeenEvent:
    """Send a text, and wait for the bot's answer in that room: any text, exactly `says`, or `containing` a text."""
    __tracebackhide__ = True
    at = time.time()
    sent = await person.send_text(room, text)
    wanted = checks.message(says, sender=bot.user_id, room=room, after=sent, containing=containing)
    return await person.until(wanted, watch=[bot.about(sent, room=room, at=at)], timeout_s=timeout_s)


async def say(
    person: Person,
    bot: RunningBot,
    room: str,
    text: str | None = None,
    *,
    containing: str | None = None,
    after: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> SeenEvent:
    """Wait until the bot says something in a room of its own accord: a greeting, or an answer that comes late.

    Without `text` and `containing` any message counts. Pass `after` where a message from before must not count.
    """
    __tracebackhide__ = True
    wanted = checks.message(text, sender=bot.user_id, room=room, after=after, containing=containing)
    return await person.until(wanted, watch=[bot], timeout_s=timeout_s)


async def join(person: Person, bot: RunningBot, room: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Wait until the bot joins a room that it was invited to."""
    __tracebackhide__ = True
    await person.until(checks.joined(bot.user_id, room), watch=[bot.about(room=room)], timeout_s=timeout_s)


async def leave(person: Person, bot: RunningBot, room: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Wait until the bot leaves a room, or declines the invite to it."""
    __tracebackhide__ = True
    await person.until(checks.membership(bot.user_id, room, "leave"), watch=[bot], timeout_s=timeout_s)


async def chat(person: Person, bot: RunningBot, *, timeout_s: float = DEFAULT_TIMEOUT_S, **room: Any) -> str:
    """Create a direct chat with the bot (`name`, `encrypted`), and wait until the bot joins. Return the room id."""
    __tracebackhide__ = True
    room_id = await person.create_direct(bot.user_id, **room)
    await join(person, bot, room_id, timeout_s=timeout_s)
    return room_id


async def end_by_itself(bot: RunningBot, *, code: int | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
    """Wait until the bot ends by itself, with `code` or any exit code. Return the exit code."""
    __tracebackhide__ = True
    what = f"the bot to end by itself{f' with exit code {code}' if code is not None else ''}"
    began = time.monotonic()
    ended = await bot.wait(scaled(timeout_s))
    if ended is None or code not in (None, ended):
        waited_s = time.monotonic() - began
        reason = "it is still running" if ended is None else f"it ended with {ended}"
        raise NotMet(what, waited_s, [(waited_s, reason)], watched=[bot], causes=())
    return ended


def be_running(bot: RunningBot) -> None:
    """Check that the bot is still running. Raises Died with its last log lines."""
    __tracebackhide__ = True
    bot.check_alive()


async def log(bot: RunningBot, text: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
    """Wait until the bot has logged a line with `text` since its latest start. Return the line."""
    __tracebackhide__ = True

    def check() -> str | NotYet:
        lines = bot.log_text().splitlines()
        found = next((line for line in lines if text in line), None)
        return found or NotYet(f"{len(lines)} line(s) logged, none with that text")

    try:
        return await until(check, f"the bot to log {text!r}", timeout_s=timeout_s, watch=[bot])
    except Died:
        found = check()  # the bot may have logged the line just before it died
        if isinstance(found, str):
            return found
        raise
