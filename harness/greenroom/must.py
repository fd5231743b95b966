"""What must happen: `from greenroom import must`, then `await must.answer(alice, bot, room, "!ping", "pong")`.

Each function waits for one thing and raises NotMet, an AssertionError, if it does not happen in time. If the bot or
the server dies meanwhile, the function raises Died at once. Both messages contain the bot's last log lines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from greenroom import checks
from greenroom.bot_process import RunningBot
from greenroom.errors import Died, Happened, Misuse, NotMet
from greenroom.faults import Entry
from greenroom.faults.rest import answers_itself, is_deaf, sends, unrest
from greenroom.people.answers import Answer, described
from greenroom.people.asking import Way
from greenroom.people.person import Person
from greenroom.people.talk import MANY, too_much
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
    way: str = Way.PLAIN,
    to: str | None = None,
    anywhere: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Ask something, and wait for the bot's answer in that room: any, exactly `says`, or `containing` a text.

    `way` is how to ask: plain, mention, reply or thread; see `Person.ask`. The answer can be a text, a notice, a reply,
    a reaction, a message in a thread, or a message that is edited until it has the wanted text; its `kind` tells. With
    `anywhere`, an answer in another room counts too.

    If the bot runs behind a proxy, as every bot but the reference bot does, this also waits until the bot is at rest:
    about 0.1 s, and at most 15 s for a bot that goes on sending. Raises Happened if the bot says the same twice, or
    goes on talking to itself.
    """
    __tracebackhide__ = True
    noted, at = len(bot.transcript) if bot.transcript else 0, time.time()
    sent = await person.ask(room, text, way=way, bot=bot.user_id, to=to)
    where = None if anywhere else room
    wanted = checks.answer(says, sender=bot.user_id, room=where, after=sent, containing=containing)
    asked = bot.about(sent, room=where, at=at)
    found = await person.until(wanted, watch=[asked], timeout_s=timeout_s)
    if bot.transcript is None:
        return found
    goes_on = await _until_rest(bot, noted)
    await person.sync()
    found = await person.until(wanted, watch=[asked], timeout_s=timeout_s)  # an edit may have changed it meanwhile
    _not_too_much(person, bot, sent, text, found.room_id, goes_on)
    return found


async def _until_rest(bot: RunningBot, noted: int) -> bool:
    """Wait until the bot is at rest, and return False. Return True if it goes on answering itself.

    This ends soon for a bot of which nothing can be said: when it has sent nothing for a second. A long answer is
    waited for to its end, since its last messages would look like answers to the next question.
    """
    requests: list[Entry] = []
    began = time.time()
    while bot.transcript is not None and bot.is_running():
        requests = bot.transcript.around(bot.user_id, since=noted)
        now = time.time()
        if unrest(requests, now, hears_itself=bot.hears_itself) is None:
            return False
        ends = (now if entry.duration_s is None else entry.at + entry.duration_s for entry in sends(requests))
        latest = max(ends, default=began)
        made = {entry.made for entry in sends(requests) if entry.made}
        if len(made) > 2 * MANY and answers_itself(requests, MANY):
            return True
        if now - latest > scaled(1.0) or now - began > scaled(DEFAULT_TIMEOUT_S):
            break
        await asyncio.sleep(0.01)
    bot.hears_itself = bot.hears_itself and not is_deaf(requests)
    return answers_itself(requests, MANY)


def _not_too_much(person: Person, bot: RunningBot, sent: str, text: str, room: str, goes_on: bool) -> None:
    __tracebackhide__ = True
    events = person.seen.timeline
    much = too_much(events, sender=bot.user_id, question=sent, shown=text, room=room, goes_on=goes_on)
    if much is not None:
        raise Happened(f"{bot.user_id} {much.what}", "; ".join(described(much.said[:4], room)), watched=[bot])


async def say(
    person: Person,
    bot: RunningBot,
    room: str,
    text: str | None = None,
    *,
    containing: str | None = None,
    after: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Answer:
    """Wait until the bot says something in a room of its own accord: a greeting, or an answer that comes late.

    Without `text` and `containing` anything counts. Pass `after` where a message from before must not count.
    """
    __tracebackhide__ = True
    wanted = checks.answer(text, sender=bot.user_id, room=room, after=after, containing=containing)
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
    _check_keys(room, person)
    with bot.early_invites_held(person.user_id):
        room_id = await person.create_direct(bot.user_id, **room)
    await join(person, bot, room_id, timeout_s=timeout_s)
    return room_id


async def group(
    person: Person, bot: RunningBot, *others: Person, timeout_s: float = DEFAULT_TIMEOUT_S, **room: Any
) -> str:
    """Create a room for several people, and wait until the bot joins. It is no direct chat. Return the room id.

    `room` takes `encrypted=True`, and the arguments of nio's `room_create`.
    """
    __tracebackhide__ = True
    _check_keys(room, person, *others)
    with bot.early_invites_held(person.user_id):
        room_id = await person.create_room(invite=[bot.user_id, *(other.user_id for other in others)], **room)
    for other in others:
        await other.join(room_id)
    await join(person, bot, room_id, timeout_s=timeout_s)
    return room_id


def _check_keys(room: Mapping[str, Any], *people: Person) -> None:
    __tracebackhide__ = True
    for person in people if room.get("encrypted") else ():
        if person.client.olm is None:
            name = person.account.localpart
            raise Misuse(f"{name} has no keys for an encrypted room. Try: await person('…', encrypted=True)")


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
