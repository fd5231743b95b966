"""What must never happen: `from harness import never`.

An absence is not proved by waiting a while. It is proved by a sentinel: something that is asked for *afterwards* and
seen to happen. When the bot has answered the later question, in the same room, it has been through the earlier one.
So every function here takes a sentinel, and when that does not happen there is no verdict: CannotTell, not a pass.

    await never.see(alice, message(sender=bot.user_id, room=room, after=sent),
                    sentinel=never.answered(alice, bot, room, "!ping"), watch=[bot])

A bot that answers nothing at all has `never.synced`: seen through the fault proxy, it fetched what was said, came back
for more, and has therefore been through its handlers. That holds for bots that handle a sync before they ask for the
next one (matrix-nio does); one that hands messages to a background task may still be at it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from greenroom import checks, must
from greenroom.bot_process import RunningBot
from greenroom.errors import CannotTell, Happened, NotMet
from greenroom.faults import FaultProxy
from greenroom.people.person import Person
from greenroom.people.seen import Seen, SeenEvent
from greenroom.waiting import DEFAULT_TIMEOUT_S, Alive, NotYet, until

Sentinel = Callable[[], Awaitable[Any]]
MARKER = "dev.greenroom.sentinel"


async def see(person: Person, check: checks.SeenCheck[Any], *, sentinel: Sentinel, watch: Iterable[Alive] = ()) -> None:
    """Have a person not see something before the sentinel. Raises Happened if it was seen, CannotTell without sentinel.

    What was seen before the call counts: note an event id first and use `after=`, as with `until`.
    """
    try:
        await sentinel()
        await person.sync()
    except NotMet as missing:
        _judge(person, check, watch)  # it may have happened anyway
        raise CannotTell(f"{person.account.localpart} would see {check.what}", missing) from None
    _judge(person, check, watch)


def _judge(person: Person, check: checks.SeenCheck[Any], watch: Iterable[Alive]) -> None:
    outcome = check(person.seen)
    if not isinstance(outcome, NotYet):
        shown = f"{outcome.sender}: {outcome.body!r}" if isinstance(outcome, SeenEvent) and outcome.body else outcome
        raise Happened(f"{person.account.localpart} saw {check.what}", shown, watched=watch)


async def answer(person: Person, bot: RunningBot, room: str, text: str, *, sentinel: Sentinel) -> None:
    """Say something that the bot must not answer."""
    __tracebackhide__ = True
    sent = await person.send_text(room, text)
    meant: set[str] = set()

    async def noting() -> None:
        outcome = await sentinel()
        if isinstance(outcome, SeenEvent):
            meant.add(outcome.event_id)

    def other_answer(seen: Seen) -> SeenEvent | NotYet:
        said = (event for event in seen.messages(room, after=sent) if event.sender == bot.user_id)
        return next((event for event in said if event.event_id not in meant), NotYet("nothing but what was meant"))

    check = checks.SeenCheck(f"{bot.user_id} answer {text!r}", other_answer)
    await see(person, check, sentinel=noting, watch=[bot])


def answered(
    person: Person,
    bot: RunningBot,
    room: str,
    text: str,
    says: str | None = None,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Sentinel:
    """Make a sentinel of a question that the bot answers. Best with an answer that nothing else brings about."""
    __tracebackhide__ = True

    async def sentinel() -> SeenEvent:
        return await must.answer(person, bot, room, text, says, timeout_s=timeout_s)

    return sentinel


def synced(
    person: Person, bot: RunningBot, room: str, faults: FaultProxy, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Sentinel:
    """Make a sentinel of the bot's own syncs, for a bot that runs `through=faults` and answers nothing.

    Two custom events are sent that bots do not know, to wake its syncs. The first sync that begins from now on brings
    all that was said before; when the next one begins, that has been handled.
    """

    async def sentinel() -> None:
        noted = len(faults.transcript)
        for _ in range(2):
            await person.send(room, MARKER, {})
            noted = await _next_sync(bot, faults, noted, timeout_s)

    return sentinel


async def _next_sync(bot: RunningBot, faults: FaultProxy, noted: int, timeout_s: float) -> int:
    """Wait for the bot's first sync that began after `noted`; give the position after it."""
    __tracebackhide__ = True

    def check() -> int | NotYet:
        for index, entry in enumerate(faults.transcript.entries(since=noted), noted + 1):
            if entry.user == bot.user_id and entry.path.endswith("/sync"):
                return index
        return NotYet(f"{len(faults.transcript) - noted} request(s) since, none of them a sync of the bot")

    return await until(check, "the bot to fetch a later event and come back for more", timeout_s=timeout_s, watch=[bot])
