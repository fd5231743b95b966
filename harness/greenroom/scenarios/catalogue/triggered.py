"""Scenarios for bots that nobody asks in a chat: a trigger makes them speak."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from greenroom.errors import NotMet
from greenroom.scenarios import findings
from greenroom.scenarios.catalogue.basic import TRIGGERED
from greenroom.scenarios.findings import Finding, all_of, cannot_tell, failed, is_answered
from greenroom.scenarios.observed import Observed, Question, Why
from greenroom.scenarios.scenario import scenario
from greenroom.scenarios.stage import Stage
from greenroom.waiting import NotYet, until

KEPT, REFUSED = "kept", "refused"


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
