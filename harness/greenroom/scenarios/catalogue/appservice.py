"""Scenarios for application services: what the homeserver sends is lost, repeated, or not from the homeserver."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from greenroom import checks
from greenroom.errors import NotMet
from greenroom.faults import Call, Rule
from greenroom.hosted import Hosted
from greenroom.scenarios import findings
from greenroom.scenarios.findings import Finding, all_of, cannot_tell, failed
from greenroom.scenarios.observed import Observed, Why, bots_messages
from greenroom.scenarios.scenario import Suits, scenario
from greenroom.scenarios.stage import TRANSACTIONS, Stage
from greenroom.waiting import NotYet, until

QUESTIONS = 3

SERVICES = Suits("an application service (`kind: appservice`)", lambda promises: promises.is_appservice)
WITH_GHOSTS = Suits(
    "an application service with a `ghost`", lambda promises: promises.is_appservice and bool(promises.appservice.ghost)
)


# -- rules


def in_order(observed: Observed, way: str) -> Iterator[Finding]:
    """The questions that the disturbance hit are answered, and in the order in which they were asked."""
    yield from findings.answered(observed, way)
    if not findings.differ(observed):
        return
    first = [(q, observed.answers_to(q)[0].at_index) for q in observed.asked(Why.SUBJECT) if observed.answers_to(q)]
    for (earlier, one), (later, other) in pairwise(first):
        if other < one:
            yield failed(f"{later.text!r} was answered before {earlier.text!r}, which was asked first")


def ghost_kept(observed: Observed, way: str) -> Iterator[Finding]:
    """The ghost joined and answered, and after the restart it is still in its room."""
    ghost = observed.facts.get("ghost")
    if ghost is None or observed.trouble is not None:
        return
    if not observed.facts["ghost joined"]:
        yield failed(f"{ghost} did not join the room to which it was invited")
    elif not observed.facts["ghost answered"]:
        yield cannot_tell(f"{ghost} joined, but answered nothing before the restart, so nothing could be lost")
    elif not observed.facts["ghost stayed"]:
        yield failed(f"after the restart {ghost} is no longer in its room")
    else:
        yield from findings.answered(observed, way)


def foreigners_refused(observed: Observed, way: str) -> Iterator[Finding]:
    """What has not the homeserver's token is refused, and nothing is done about it."""
    said = [answer.text for answer in bots_messages(observed, {q.room for q in observed.questions})]
    for which, (status, answer) in observed.facts.get("foreign requests", {}).items():
        if findings.differ(observed) and any(answer in text for text in said):
            yield failed(f"the bot answered a question that came with {which}; anybody could speak as the homeserver")
        elif status is None:
            yield cannot_tell(f"a transaction with {which} got no answer")
        elif status < 400:
            yield failed(f"the bot answered {status} to a transaction with {which}, instead of 401 or 403")


def query_answered(observed: Observed, way: str) -> Iterator[Finding]:
    """The homeserver's question for a user is answered with 200 or 404."""
    if "user query" not in observed.facts:
        return
    user_id, status = observed.facts["user query"]
    if status is None:
        yield cannot_tell(f"the homeserver's question for the user {user_id} got no answer")
    elif status not in (200, 404):
        yield failed(f"the bot answered {status} to the homeserver's question for the user {user_id}, not 200 or 404")


# -- scenarios


@scenario("transaction-repeated", rule=all_of(findings.answered, findings.through), suits=SERVICES)
async def transaction_repeated(stage: Stage) -> None:
    """The answer to a transaction is lost, so the homeserver sends the transaction again. The bot answers once."""
    word = stage.new_word()
    with stage.deliveries.drop_response(where=_brings(word), times=1) as dropped:
        question = await stage.ask(Why.SUBJECT, word=word)
        await stage.hit(dropped)
    await _sent_again(stage, dropped)
    await stage.heard(question)
    await stage.talk()


def _brings(word: str) -> Callable[[Call], bool]:
    """Return what chooses the transaction with a question. Others may be on their way, with the bot's own messages."""
    return lambda call: TRANSACTIONS in call.path and word.encode() in call.body


async def _sent_again(stage: Stage, dropped: Rule) -> None:
    """Wait until the homeserver has sent the transaction that a fault hit once more."""

    def check() -> bool | NotYet:
        sent = stage.deliveries.transcript.entries(path=TRANSACTIONS)
        path = next(entry.path for entry in sent if entry.rule == str(dropped))
        again = [entry for entry in sent if entry.path == path and entry.rule is None and entry.status is not None]
        return bool(again) or NotYet(f"{path} was sent once")

    await until(check, "the homeserver to send the transaction again", timeout_s=stage.patience_s, watch=[stage.bot])


@scenario("transaction-refused", rule=all_of(findings.answered, findings.through), suits=SERVICES)
async def transaction_refused(stage: Stage) -> None:
    """A gateway answers one transaction with 502. The homeserver sends it again later, and the bot answers once."""
    word = stage.new_word()
    with stage.deliveries.html(502, where=_brings(word), times=1) as refused:
        question = await stage.ask(Why.SUBJECT, word=word)
        await stage.hit(refused)
    await stage.heard(question)
    await stage.talk()


@scenario("order-while-down", rule=all_of(in_order, findings.through), suits=SERVICES)
async def order_while_down(stage: Stage) -> None:
    """The homeserver keeps the questions from the downtime. The bot answers each once, in the order they were asked."""
    await stage.stop_bot()
    for _ in range(QUESTIONS):
        await stage.ask(Why.SUBJECT)
    await stage.start_bot()
    await stage.talk()


@scenario("ghost-after-restart", rule=all_of(ghost_kept, findings.again), suits=WITH_GHOSTS)
async def ghost_after_restart(stage: Stage) -> None:
    """A ghost joins a room and answers there. After a restart it is still in the room, and answers again."""
    ghost = _somebody(stage)
    room = await stage.owner.create_room(is_direct=True, invite=[ghost])
    with suppress(NotMet):
        await stage.owner.until(checks.joined(ghost, room), watch=[stage.bot], timeout_s=stage.patience_s)
    stage.note(ghost=ghost, ghost_joined=stage.owner.seen.membership(room, ghost) == "join")
    answered = await stage.heard(await stage.ask(Why.FIRST, room=room, by=ghost))
    await stage.restart_bot()
    question = await stage.ask(Why.SUBJECT, room=room, by=ghost)
    await stage.heard(question)
    stage.note(ghost_answered=answered, ghost_stayed=ghost in await stage.owner.members(room))
    await stage.talk()


@scenario("foreign-token", rule=all_of(foreigners_refused, findings.through), suits=SERVICES)
async def foreign_token(stage: Stage) -> None:
    """Somebody else sends the bot events with a wrong token, or with none. The bot refuses them and does nothing."""
    asked: dict[str, tuple[int | None, str]] = {}
    taken = [entry.path for entry in stage.deliveries.transcript.entries(path=TRANSACTIONS) if entry.status == 200]
    where = taken[-1].rpartition("/")[0]  # elsewhere a service may have nothing to refuse
    for which, token in (("a wrong token", secrets.token_urlsafe(32)), ("no token", None)):
        word = stage.new_word()
        path = f"{where}/{secrets.token_hex(4)}"
        status = await _service(stage).request("PUT", path, token, {"events": [_question(stage, word)]})
        asked[which] = (status, stage.promises.expected(word, bot=stage.bot.user_id))
    stage.note(foreign_requests=asked)
    await stage.talk()


def _question(stage: Stage, word: str) -> dict[str, Any]:
    """Return a question of the owner as the event that a homeserver would send."""
    return {
        "type": "m.room.message",
        "room_id": stage.chat,
        "sender": stage.owner.user_id,
        "event_id": f"${secrets.token_urlsafe(32)}",
        "origin_server_ts": int(time.time() * 1000),
        "content": {"msgtype": "m.text", "body": stage.promises.question(word, bot=stage.bot.user_id)},
    }


@scenario("user-query", rule=all_of(query_answered, findings.through), suits=SERVICES)
async def user_query(stage: Stage) -> None:
    """The homeserver asks whether a user of the bot's exists. The bot answers yes (200) or no (404)."""
    wanted, service = _somebody(stage), _service(stage)
    status = await service.request("GET", f"/_matrix/app/v1/users/{quote(wanted)}", service.service.hs_token)
    stage.note(user_query=(wanted, status))
    await stage.talk()


def _somebody(stage: Stage) -> str:
    """Return the user id of a ghost that nobody has met yet, or of nobody if the bot promises no ghost."""
    localpart = stage.promises.appservice.ghost or "nobody_{word}"
    return f"@{localpart.replace('{word}', stage.new_word())}:{stage.server.server_name}"


def _service(stage: Stage) -> Hosted:
    assert stage.service is not None, "the scenario suits application services only"
    return stage.service
