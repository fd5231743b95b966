"""Scenarios for every bot that answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from greenroom import checks
from greenroom.errors import Died, NotMet
from greenroom.faults import Call
from greenroom.homeserver.interface import Capability
from greenroom.scenarios import findings
from greenroom.scenarios.findings import all_of
from greenroom.scenarios.observed import Why
from greenroom.scenarios.scenario import CLIENTS, Suits, scenario
from greenroom.scenarios.stage import Stage

BURST = 25  # a homeserver puts ten events of a room into a sync by default
LOST_RESPONSES = 3
RETRY_AFTER_MS = 400
CALM_REQUESTS = 40  # in CALM_S; a bot that retries without a pause sends hundreds
CALM_S = 3.0

ASKED = Suits("a bot that is asked in the chat", lambda promises: promises.pulled is None)
SYNCS = Suits(
    "a bot that is asked in the chat and syncs", lambda promises: ASKED.holds(promises) and CLIENTS.holds(promises)
)
TRIGGERED = Suits(
    "a bot with `trigger: http`, `signal`, `file` or `command`", lambda promises: promises.pulled is not None
)
REACHED_LATER = Suits(
    "a bot that can find later what came while it was down; no HTTP request and no signal waits for it",
    lambda promises: promises.pulled is None or promises.pulled.waits,
)
JOINS = Suits("a bot that accepts invites, so not for `invites: nobody`", lambda promises: promises.invites != "nobody")

ANSWERS = all_of(findings.first_answered, findings.nothing_old_twice, findings.through)


def answering(stage: Stage) -> dict[str, Any]:
    """Return the choice of the requests with which the bot answers, for a fault.

    A bot that speaks later may confirm the question first. The fault leaves the confirmation out, except in an
    encrypted room, where nobody can tell the two apart.
    """
    choice: dict[str, Any] = {"path": "/send/", "user": stage.bot}

    def is_answer(call: Call) -> bool:
        body = call.body.decode(errors="replace")
        texts = [question.answer for question in stage.observed.questions]
        return any(json.dumps(text, ensure_ascii=strict)[1:-1] in body for text in texts for strict in (True, False))

    later = stage.promises.later_s and not stage.promises.encrypted
    return {**choice, "where": is_answer} if later else choice


# -- nothing special


@scenario("answers", rule=ANSWERS, always=True, warns=findings.unsigned_devices, suits=ASKED)
async def answers(stage: Stage) -> None:
    """The bot answers a question once, and then stops talking."""
    await stage.talk()
    if stage.promises.encrypted:
        devices = await stage.owner.devices(stage.bot.user_id)
        stage.note(unsigned_devices=[device.device_id for device in devices if not device.signed])


@scenario("says", rule=ANSWERS, always=True, warns=findings.unsigned_devices, suits=TRIGGERED)
async def says(stage: Stage) -> None:
    """The bot speaks once for each trigger, and then stops talking."""
    await answers(stage)


# Nobody asks a bot with a trigger in the chat, so a notice there is no question.
@scenario("ignores-notices", rule=all_of(findings.quiet, findings.through), suits=ASKED)
async def ignores_notices(stage: Stage) -> None:
    """The bot does not answer a notice: bots send notices, and two bots would answer each other for ever."""
    await stage.ask(Why.QUIET, msgtype="m.notice")
    await stage.talk()


@scenario("invite-from-a-stranger", rule=all_of(findings.invited_by_stranger, findings.through), suits=JOINS)
async def invite_from_a_stranger(stage: Stage) -> None:
    """Somebody else invites the bot. It joins, or does not, as `invites` promises."""
    stranger = await stage.people("stranger")
    room = await stranger.create_direct(stage.bot.user_id, encrypted=stage.promises.encrypted)
    joined = checks.joined(stage.bot.user_id, room)
    if stage.promises.invites == "anyone":
        with suppress(NotMet):
            await stranger.until(joined, watch=[stage.bot], timeout_s=stage.patience_s)
    await stage.talk()
    await stranger.sync()
    stage.note(joined_the_room=stranger.seen.membership(room, stage.bot.user_id) == "join")


@scenario("stops-when-asked", rule=findings.stopped)
async def stops_when_asked(stage: Stage) -> None:
    """The bot stops within ten seconds of SIGTERM."""
    await stage.stop_bot()


# -- restarts


@scenario("restart-keeps-rooms", rule=all_of(findings.rooms_kept, findings.again))
async def restart_keeps_rooms(stage: Stage) -> None:
    """After a restart the bot is in the same rooms, makes no new ones, and answers where it answered before."""
    await stage.owner.sync()
    stage.note(members_before=await members(stage))
    await stage.restart_bot()
    await stage.talk()
    stage.note(members_after=await members(stage), new_invites=len(stage.owner.seen.invited))


async def members(stage: Stage) -> dict[str, list[str]]:
    """Return who has joined each room of the owner."""
    rooms = sorted(await stage.owner.joined_rooms())
    return {room: sorted(await stage.owner.members(room)) for room in rooms}


@scenario("restart-repeats-nothing", rule=all_of(findings.nothing_old_twice, findings.through))
async def restart_repeats_nothing(stage: Stage) -> None:
    """After two restarts the bot has answered no old question again."""
    for _ in range(2):
        await stage.ask_and_hear(Why.FIRST)
        await stage.restart_bot()
    await stage.talk()


@scenario("first-message-after-restart", "once", "unanswered", rule=all_of(findings.once_or_never, findings.through))
async def first_message_after_restart(stage: Stage) -> None:
    """The first question after a restart, with nothing between, is answered once, or never, as promised."""
    await stage.bot_has_read()
    await stage.restart_bot()
    question = await stage.ask(Why.SUBJECT)
    await stage.heard(question, timeout_s=stage.patience_s / 2)
    await stage.talk()


@scenario(
    "message-while-down",
    "once",
    "unanswered",
    rule=all_of(findings.once_or_never, findings.through),
    suits=REACHED_LATER,
)
async def message_while_down(stage: Stage) -> None:
    """After the start the bot answers a question from its downtime once, or never, as promised."""
    await stage.stop_bot()
    await stage.ask(Why.SUBJECT)
    await stage.start_bot()
    await stage.talk()
    await stage.restart_bot()
    await stage.talk()


@scenario("burst-while-down", "once", rule=all_of(findings.answered, findings.through), suits=REACHED_LATER)
async def burst_while_down(stage: Stage) -> None:
    """One sync cannot hold all questions from the downtime. The bot answers each of them once."""
    await stage.stop_bot()
    for _ in range(BURST):
        await stage.ask(Why.SUBJECT)
    await stage.start_bot()
    await stage.talk()


@scenario("killed-before-answer", "once", "unanswered", rule=all_of(findings.once_or_never, findings.through))
async def killed_before_answer(stage: Stage) -> None:
    """SIGKILL before the answer reaches the homeserver. After the start the bot answers once, or never, as promised."""
    with stage.faults.stall(**answering(stage)) as stalled:
        await stage.ask(Why.SUBJECT)
        await stage.hit(stalled)
        await stage.kill_bot()
    await stage.start_bot()
    await stage.talk()


@scenario("killed-after-answer", rule=all_of(findings.answered, findings.through))
async def killed_after_answer(stage: Stage) -> None:
    """SIGKILL after the answer has reached the homeserver, before the bot knows. The bot does not answer again."""
    with stage.faults.hold_response(**answering(stage)) as held:
        question = await stage.ask(Why.SUBJECT)
        await stage.hit(held)
        await stage.heard(question)
        await stage.kill_bot()
    await stage.start_bot()
    await stage.talk()


@scenario("state-lost", rule=all_of(findings.lost, findings.rooms_kept, findings.nothing_old_twice, findings.again))
async def state_lost(stage: Stage) -> None:
    """The bot starts without its database. It answers in the same room, makes no new room, repeats nothing."""
    stage.note(members_before=await members(stage))
    await stage.stop_bot()
    database = Path(stage.bot.env["MATRIX_DB_PATH"])
    stage.note(files_lost=lose(database))
    await stage.start_bot()
    await stage.talk()
    stage.note(members_after=await members(stage), new_invites=len(stage.owner.seen.invited))


def lose(database: Path) -> int:
    """Remove a database, which may be one file, several, or a folder. Return how many entries it had."""
    found = list(database.parent.glob(f"{database.stem}*"))
    for entry in found:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return len(found)


# -- rooms


@scenario("kicked", rule=findings.again)
async def kicked(stage: Stage) -> None:
    """A member kicks the bot from one room. It still answers in the other."""
    await stage.owner.kick(stage.spare, stage.bot.user_id, "tidying up")
    await stage.talk()
    stage.bot.check_alive()


@scenario("kicked-while-down", rule=findings.again)
async def kicked_while_down(stage: Stage) -> None:
    """A member kicks the bot from one room while it is down. It starts, and still answers in the other."""
    await stage.stop_bot()
    await stage.owner.kick(stage.spare, stage.bot.user_id, "tidying up")
    await stage.start_bot()
    await stage.talk()
    stage.bot.check_alive()


# -- the way to the homeserver


# As long as a real homeserver takes to start. A warm parent brings ours back before a bot has tried once more.
OUTAGE_S = 2.0


@scenario("server-restart", rule=all_of(findings.nothing_old_twice, findings.again), own_server=True)
async def server_restart(stage: Stage) -> None:
    """The homeserver crashes and comes back. The bot answers the next question once, and no old one again."""
    stage.server.require(Capability.KILL)
    await stage.server.kill()
    await asyncio.sleep(OUTAGE_S)
    await stage.server.start_again()
    await stage.talk()


# A bot with a trigger may make no request until it is triggered: `trigger-while-gateway-errors` is for that.
@scenario("gateway-errors", rule=all_of(findings.nothing_old_twice, findings.again), suits=ASKED)
async def gateway_errors(stage: Stage) -> None:
    """A reverse proxy answers 502 with HTML for a while. Afterwards the bot answers as before."""
    await stage.bot_has_read()  # a client syncs now, so its sync is cut in each run
    with stage.faults.html(502, user=stage.bot) as rule:
        await stage.provoke()
        if stage.service is not None:  # one that repeats nothing meets the fault once for each question
            await stage.hit(rule)
            await stage.provoke()
        await stage.hit(rule, 2)
    await stage.talk()


# Neither to a service nor for a trigger is there a sync.
@scenario("broken-sync", rule=all_of(findings.nothing_old_twice, findings.answered, findings.through), suits=SYNCS)
async def broken_sync(stage: Stage) -> None:
    """The sync that brings a question breaks off in the middle. The bot still answers the question once."""
    word = stage.new_word()
    # The next sync is not enough: it may bring only the bot's own previous answer.
    with stage.faults.truncate(path="/sync", user=stage.bot, containing=await shown(stage, word), times=1) as cut:
        question = await stage.ask(Why.SUBJECT, word=word)
        await stage.hit(cut)
        await stage.heard(question, timeout_s=stage.patience_s / 2)
    await stage.talk()


async def shown(stage: Stage, word: str) -> str:
    """Return a text that a sync with the next question contains, and that no sync since the last one can contain."""
    if stage.promises.encrypted:  # the bot has read every message of this session so far; its own have another one
        return await stage.owners_session()
    text = stage.promises.question(word, bot=stage.bot.user_id)
    return json.dumps(text, ensure_ascii=False)[1:-1]  # a mention has the bot's name before it


@scenario("rate-limit-storm", rule=all_of(findings.waits_as_told, findings.answered, findings.through))
async def rate_limit_storm(stage: Stage) -> None:
    """The homeserver refuses the answer with 429 four times. The bot waits as told, and answers once."""
    stage.note(retry_after_ms=RETRY_AFTER_MS)
    with stage.faults.rate_limited(RETRY_AFTER_MS, **answering(stage), times=4):
        await stage.ask_and_hear(Why.SUBJECT)
    await stage.talk()


@scenario("lost-response", rule=all_of(findings.answered, findings.through))
async def lost_response(stage: Stage) -> None:
    """The homeserver accepts the answer, but the connection breaks first. The bot does not answer twice."""
    # More than once: an HTTP library repeats a PUT by itself, and then the bot's own code does not see the failure.
    with stage.faults.drop_response(**answering(stage), times=LOST_RESPONSES) as dropped:
        question = await stage.ask(Why.SUBJECT)
        await stage.hit(dropped)
        await stage.heard(question)
        await stage.talk()


@scenario("dead-token", rule=findings.calm)
async def dead_token(stage: Stage) -> None:
    """The access token is no longer valid. The bot ends, logs in again or waits, but sends no flood of requests."""
    with stage.faults.unknown_token(user=stage.bot, where=lambda call: not call.path.endswith("/login")) as rule:
        await stage.provoke()
        try:
            await stage.hit(rule)
        except Died:  # at once, which is well
            if not rule.hits:
                raise
        began, hits = time.monotonic(), rule.hits
        while stage.bot.is_running() and time.monotonic() - began < CALM_S:
            if rule.hits - hits > CALM_REQUESTS:
                stage.note(flood={"requests": rule.hits - hits, "seconds": time.monotonic() - began})
                return
            await asyncio.sleep(0.05)
