"""Scenarios in which the owner lives on another homeserver than the bot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from greenroom.errors import NotMet
from greenroom.faults.rest import sends
from greenroom.scenarios import findings
from greenroom.scenarios.catalogue.basic import JOINS, SYNCS
from greenroom.scenarios.findings import Finding, all_of, cannot_tell
from greenroom.scenarios.observed import Observed, Trouble, Why
from greenroom.scenarios.scenario import Suits, scenario
from greenroom.scenarios.stage import Stage
from greenroom.waiting import until

MEETS_PEOPLE = Suits(
    "a bot that syncs, accepts invites, and answers at once and in plain text what it is asked in the chat",
    lambda promises: SYNCS.holds(promises) and JOINS.holds(promises) and not (promises.encrypted or promises.later_s),
)


def served(observed: Observed, way: str) -> Iterator[Finding]:
    """The bot serves people of other homeservers. One that does not, fails nothing: it may not be meant to."""
    if observed.trouble is Trouble.NEVER_ANSWERED and not observed.disturbed:
        yield cannot_tell(
            "nothing could be tried: the bot did not serve an owner on another homeserver; "
            f"a bot that is not meant to promises `{observed.scenario}: no`"
        )


@scenario(
    "other-server-away",
    rule=all_of(served, findings.answered, findings.through),
    owner_elsewhere=True,
    suits=MEETS_PEOPLE,
)
async def other_server_away(stage: Stage) -> None:
    """The owner lives on another homeserver, which is away for a while. Each question is answered once, late or not."""
    asked = len(stage.faults.transcript)
    stalled = stage.faults.stall(path="/send/", user=stage.bot)
    await stage.ask(Why.SUBJECT)
    await stage.hit(stalled)
    with stage.owner.server.cut_off(stage.server):
        await stage.ask(Why.SUBJECT)  # older than the answer to the question before, and reaches the bot after that
        stalled.end()
        await _said_something(stage, asked)
    await stage.talk()


async def _said_something(stage: Stage, since: int) -> None:
    """Wait until the bot has sent a message, and received it. A bot that sends none fails by the next questions."""

    def accepted() -> bool:
        sent = sends(stage.faults.transcript.entries(user=stage.bot.user_id, since=since))
        return any(entry.status == 200 for entry in sent)

    with suppress(NotMet):
        await until(accepted, "the bot to answer", watch=[stage.bot], timeout_s=stage.patience_s / 2)
        await stage.bot_has_read()
