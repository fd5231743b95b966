"""Scenarios for bots that speak first: a trigger makes them speak, or the time that somebody has told them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

from greenroom.errors import NotMet
from greenroom.people.answers import Answer, answers
from greenroom.people.seen import Seen
from greenroom.scenarios import findings
from greenroom.scenarios.catalogue.basic import TRIGGERED
from greenroom.scenarios.findings import Finding, all_of, cannot_tell, failed, is_answered
from greenroom.scenarios.observed import Observed, Question, Why
from greenroom.scenarios.scenario import Suits, scenario
from greenroom.scenarios.stage import Stage
from greenroom.waiting import NotYet, until

KEPT, REFUSED = "kept", "refused"
DUE_S = 1.0  # what is due this long is late
LATER = Suits("a bot with `trigger: seconds`", lambda promises: promises.later_s > 0)


def kept_or_refused(observed: Observed, way: str) -> Iterator[Finding]:
    """The bot said later what the trigger asked for, or refused the trigger with an error: as promised."""
    for question in observed.asked(Why.SUBJECT):
        yield from _kept_or_refused(observed, question, way)


def _kept_or_refused(observed: Observed, question: Question, way: str) -> Iterator[Finding]:
    pulled, said = question.pulled, is_answered(observed, question)
    if pulled is None:
        return
    became = f"{question.text!r} ({pulled.outcome})"
    if pulled.accepted is False and said:
        yield failed(f"{became} was refused, and said all the same: who triggers it again hears it twice")
    elif pulled.accepted is False and way == KEPT:
        yield failed(f"{became} was refused instead of kept (if it is meant so, promise `refused`)", question)
    elif pulled.accepted is False or (said and way == KEPT):
        return
    elif said:
        yield failed(f"{became} was kept instead of refused (if it is meant so, promise `kept`)")
    elif any(is_answered(observed, later) for later in observed.asked(Why.AFTER)):
        yield failed(f"{became} was lost: neither refused nor ever said, though a later one was", question)
    else:
        yield cannot_tell(f"nobody saw {became} said, nor a later one", question)


RULE = all_of(kept_or_refused, findings.through)


@scenario("trigger-while-server-away", KEPT, REFUSED, rule=RULE, suits=TRIGGERED)
async def trigger_while_server_away(stage: Stage) -> None:
    """No connection to the homeserver when the trigger comes. The bot says it later, or refuses it, as promised."""
    with stage.faults.offline():
        await trigger_meanwhile(stage)
    await stage.talk()


@scenario("trigger-while-gateway-errors", KEPT, REFUSED, rule=RULE, suits=TRIGGERED)
async def trigger_while_gateway_errors(stage: Stage) -> None:
    """A reverse proxy answers 502 when the trigger comes. The bot says it later, or refuses it, as promised."""
    with stage.faults.html(502, user=stage.bot):
        stage.faults.cut_open()
        await trigger_meanwhile(stage)
    await stage.talk()


async def trigger_meanwhile(stage: Stage) -> None:
    """Pull the trigger, and wait until the bot has refused it, or has taken it and has met the fault.

    A bot that does neither is waited for during half of `patience_s`: it may hold the request until it has spoken.
    """
    question = await stage.ask(Why.SUBJECT)
    pulled = question.pulled
    assert pulled is not None

    def check() -> bool | NotYet:
        if pulled.accepted is False:
            return True
        since = stage.faults.transcript.entries(user=stage.bot.user_id)
        tried = any(r.at >= question.at and r.rule and not r.path.endswith("/sync") for r in since)
        return (tried and pulled.at is not None) or NotYet("the bot has not tried to speak")

    with suppress(NotMet):
        await until(check, "the bot to try to speak", watch=[stage.bot], timeout_s=stage.patience_s / 2)


# -- later


def was_due(observed: Observed, way: str) -> Iterator[Finding]:
    """The disturbance began before the time had come."""
    if observed.facts.get("late"):
        yield cannot_tell(f"it was due before the disturbance began: {observed.promises.later_s:g} s are too short")


DUE_RULE = all_of(was_due, findings.once_or_never, findings.through)


@scenario("due-while-down", "once", "unanswered", rule=DUE_RULE, suits=LATER)
async def due_while_down(stage: Stage) -> None:
    """The bot is down when it must speak. After the start it speaks once, or never, as promised."""
    question = await told(stage)
    await stage.stop_bot()
    await until_due(stage, question)
    await stage.start_bot()
    await stage.talk()


@scenario("due-while-server-away", "once", "unanswered", rule=DUE_RULE, suits=LATER)
async def due_while_server_away(stage: Stage) -> None:
    """No connection to the homeserver when the bot must speak. It speaks once later, or never, as promised."""
    question = await told(stage)
    with stage.faults.offline():
        await until_due(stage, question)
    await stage.talk()


async def told(stage: Stage) -> Question:
    """Tell the bot to speak later. Wait until it has confirmed that, if it confirmed the first time, and is at rest."""
    first, bot = stage.observed.questions[0], stage.bot

    def messages(seen: Seen, question: Question) -> list[Answer]:
        return answers(seen.timeline, sender=bot.user_id, room=question.room, after=question.event_id)

    confirms = first.answer not in messages(stage.owner.seen, first)[0].text
    question = await stage.ask(Why.SUBJECT)

    def taken(seen: Seen) -> bool | NotYet:
        came = stage.faults.transcript.entries(user=bot.user_id)
        if stage.service is None and not any(question.event_id in entry.brought for entry in came):
            return NotYet("no sync has brought it to the bot")
        return not confirms or bool(messages(seen, question)) or NotYet("the bot has not confirmed it")

    await stage.owner.until(taken, watch=[bot], timeout_s=stage.patience_s)
    await stage.bot_has_read()
    return question


async def until_due(stage: Stage, question: Question) -> None:
    """Wait until the time has come. Only time passes here: that is the disturbance."""
    wait_s = question.at + stage.promises.later_s - time.time()
    stage.note(late=wait_s <= 0)
    await asyncio.sleep(max(wait_s, 0) + DUE_S)
