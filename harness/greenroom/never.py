"""What must never happen: `from greenroom import never`.

An absence is not proved by waiting a while. It is proved by a sentinel: something that is asked for *afterwards* and
seen to happen. When the bot has answered the later question, in the same room, it has been through the earlier one.
So every function here takes a sentinel, and when that does not happen there is no verdict: CannotTell, not a pass.

    await never.see(alice, message(sender=bot.user_id, room=room, after=sent),
                    sentinel=never.answered(alice, bot, room, "!ping"), watch=[bot])

For a bot that answers nothing at all, there is `never.synced`. The fault proxy sees that the bot has fetched the
message and then asked for the next sync, so its handlers have run. That holds for bots that handle a sync before they
ask for the next one (matrix-nio does). A bot that hands messages to a background task may still be working.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from greenroom import checks, must
from greenroom.bot_process import RunningBot
from greenroom.errors import CannotTell, Happened, NotMet
from greenroom.faults import FaultProxy
from greenroom.faults.brought import is_sync
from greenroom.people.answers import Answer, answers
from greenroom.people.asking import Way
from greenroom.people.person import Person
from greenroom.people.seen import Seen, SeenEvent
from greenroom.waiting import DEFAULT_TIMEOUT_S, Alive, NotYet, until

Sentinel = Callable[[], Awaitable[Any]]
MARKER = "dev.greenroom.sentinel"
SYNCS = 3


async def see(person: Person, check: checks.SeenCheck[Any], *, sentinel: Sentinel, watch: Iterable[Alive] = ()) -> None:
    """Check that a person has not seen something when the sentinel comes. Raises Happened, or CannotTell without it.

    What the person saw before the call counts too. To leave that out, keep an event id and use `after=`.
    """
    try:
        await sentinel()
        await person.sync()
    except NotMet as error:
        _judge(person, check, watch)  # it may have happened anyway
        problem = f"the sentinel never came, so {person.account.localpart} may still see {check.what}"
        raise CannotTell(problem, error) from None
    _judge(person, check, watch)


def _judge(person: Person, check: checks.SeenCheck[Any], watch: Iterable[Alive]) -> None:
    outcome = check(person.seen)
    if not isinstance(outcome, NotYet):
        shown = outcome
        if isinstance(outcome, Answer):
            shown = f"{outcome.sender}: {outcome}"
        elif isinstance(outcome, SeenEvent) and outcome.body:
            shown = f"{outcome.sender}: {outcome.body!r}"
        raise Happened(f"{person.account.localpart} saw {check.what}", shown, watched=watch)


async def answer(person: Person, bot: RunningBot, room: str, text: str, *, sentinel: Sentinel) -> None:
    """Send a text that the bot must not answer. Raises Happened or CannotTell, as `see`.

    There is no verdict either if the bot said something encrypted that the person cannot read.
    """
    __tracebackhide__ = True
    sent = await person.send_text(room, text)
    expected: set[str] = set()

    async def noting() -> None:
        outcome = await sentinel()
        if isinstance(outcome, Answer | SeenEvent):
            expected.add(outcome.event_id)

    def other_answer(seen: Seen) -> Answer | NotYet:
        said = answers(seen.timeline, sender=bot.user_id, room=room, after=sent)
        return next(
            (answer for answer in said if answer.event_id not in expected), NotYet("only the sentinel's answer")
        )

    check = checks.SeenCheck(f"{bot.user_id} answer {text!r}", other_answer)
    await see(person, check, sentinel=noting, watch=[bot])
    if any(event.sender == bot.user_id and event.is_unreadable for event in person.seen.events(room, after=sent)):
        raise CannotTell(f"did {bot.user_id} answer {text!r}?", "it sent an encrypted message without the key for it")


def answered(
    person: Person,
    bot: RunningBot,
    room: str,
    text: str,
    says: str | None = None,
    *,
    way: str = Way.PLAIN,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Sentinel:
    """Return a sentinel: a question that the bot answers. Best with an answer that nothing else causes."""
    __tracebackhide__ = True

    async def sentinel() -> Answer:
        return await must.answer(person, bot, room, text, says, way=way, timeout_s=timeout_s)

    return sentinel


def synced(
    person: Person, bot: RunningBot, room: str, faults: FaultProxy, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Sentinel:
    """Return a sentinel: the bot's own syncs. For a bot that runs `through=faults` and answers nothing.

    The person sends a custom event, unknown to bots. When a sync has brought it, and the next one begins, the bot has
    handled what was sent before. A bot may filter such events out. So three syncs that begin from now on are as good:
    the first may be answered with nothing, as some homeservers do.
    """

    async def sentinel() -> None:
        __tracebackhide__ = True
        noted = len(faults.transcript)
        marker = await person.send(room, MARKER, {})

        def check() -> bool | NotYet:
            syncs = [entry for entry in faults.transcript.entries(user=bot.user_id) if is_sync(entry.path)]
            brought = next((entry for entry in syncs if marker in entry.brought and entry.duration_s is not None), None)
            if brought is not None and syncs[-1].at >= brought.ended:
                return True
            begun = sum(is_sync(entry.path) for entry in faults.transcript.entries(user=bot.user_id, since=noted))
            return begun >= SYNCS or NotYet(f"{begun} sync(s) of the bot have begun since; none brought the event")

        await until(check, "the bot to fetch a later event and then sync again", timeout_s=timeout_s, watch=[bot])

    return sentinel
