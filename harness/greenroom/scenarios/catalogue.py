"""The scenarios: each one disturbance, and what a bot that keeps its promise does about it.

A scenario raises AssertionError when the bot does not, and HarnessError when it cannot tell. Every absence is proved by
a later question that is answered.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from greenroom import checks, must, never
from greenroom.errors import Happened
from greenroom.faults import Entry
from greenroom.homeserver.interface import Capability
from greenroom.scenarios.promises import NOT_PROMISED
from greenroom.scenarios.stage import Stage
from greenroom.waiting import NotYet

BURST = 25  # more than the ten events that a homeserver puts into a sync by default
LOST_RESPONSES = 3
RETRY_AFTER_MS = 400
CALM_REQUESTS = 40  # in CALM_S; a spinning bot makes hundreds
CALM_S = 3.0

Run = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """`ways`: how it can be promised, the plain yes first. `default`: what is promised if nothing is said."""

    name: str
    summary: str
    run: Run
    ways: tuple[str, ...]
    default: str
    own_server: bool = False


CATALOGUE: dict[str, Scenario] = {}


def scenario(name: str, *ways: str, default: str | None = None, own_server: bool = False) -> Callable[[Run], Run]:
    """Put a function into the catalogue; its docstring is the summary."""

    def enter(run: Run) -> Run:
        summary = (run.__doc__ or "").strip().splitlines()[0]
        ways_or_yes = ways or ("yes",)
        CATALOGUE[name] = Scenario(name, summary, run, ways_or_yes, default or ways_or_yes[0], own_server)
        return run

    return enter


# -- nothing special


@scenario("answers")
async def answers(stage: Stage) -> None:
    """It answers a question, once."""
    await stage.each_answered_once()


@scenario("ignores-notices")
async def ignores_notices(stage: Stage) -> None:
    """A notice is what bots say: it is not answered, or two bots would talk for ever."""
    notice = await stage.ask(msgtype="m.notice")
    await stage.each_answered_once()
    said = checks.message(sender=stage.bot.user_id, room=stage.chat, after=notice.event_id, containing=notice.answer)
    if "{word}" in stage.promises.answer and not isinstance(said(stage.owner.seen), NotYet):
        raise Happened(f"{stage.bot.user_id} answered a notice", notice.text)


@scenario("invite-from-a-stranger")
async def invite_from_a_stranger(stage: Stage) -> None:
    """Somebody other than the owner invites it; whether it joins is as promised (`invites`)."""
    stranger = await stage.people("stranger")
    room = await stranger.create_direct(stage.bot.user_id)
    if stage.promises.invites == "anyone":
        await must.join(stranger, stage.bot, room, timeout_s=stage.patience_s)
    else:
        sentinel = stage.ask_and_hear
        await never.see(stranger, checks.joined(stage.bot.user_id, room), sentinel=sentinel, watch=[stage.bot])
    await stage.each_answered_once()


@scenario("stops-when-asked")
async def stops_when_asked(stage: Stage) -> None:
    """SIGTERM ends it within ten seconds."""
    await stage.stop_bot()


# -- restarts


@scenario("restart-keeps-rooms")
async def restart_keeps_rooms(stage: Stage) -> None:
    """After a restart it is in the same rooms, makes no new ones, and answers where it answered before."""
    await stage.owner.sync()
    rooms = await stage.owner.joined_rooms()
    members = {room: await stage.owner.members(room) for room in rooms}

    await stage.stop_bot()
    await stage.bot.start_again()
    await stage.each_answered_once()

    if stage.owner.seen.invited:
        raise AssertionError(f"after the restart the owner was invited to {len(stage.owner.seen.invited)} more room(s)")
    now = {room: await stage.owner.members(room) for room in await stage.owner.joined_rooms()}
    if now != members:
        raise AssertionError(f"the restart changed who is where: before {members}, now {now}")


@scenario("restart-repeats-nothing")
async def restart_repeats_nothing(stage: Stage) -> None:
    """Two restarts, and no old question is answered again."""
    for _ in range(2):
        await stage.ask_and_hear()
        await stage.stop_bot()
        await stage.bot.start_again()
    await stage.each_answered_once()


@scenario("message-while-down", "once", "unanswered")
async def message_while_down(stage: Stage) -> None:
    """What was asked while it was down is answered once after the start, or never, as promised."""
    await stage.stop_bot()
    question = await stage.ask()
    await stage.bot.start_again()
    if stage.way == "unanswered":
        await stage.each_answered_once(question)
        return
    await stage.answered(question)
    await stage.stop_bot()
    await stage.bot.start_again()
    await stage.each_answered_once()


@scenario("burst-while-down", "once", default=NOT_PROMISED)
async def burst_while_down(stage: Stage) -> None:
    """So much was asked while it was down that one sync does not hold it; each is answered once."""
    await stage.stop_bot()
    questions = [await stage.ask() for _ in range(BURST)]
    await stage.bot.start_again()
    for question in questions:
        await stage.answered(question)
    await stage.each_answered_once()


@scenario("killed-before-answer", "once", "unanswered")
async def killed_before_answer(stage: Stage) -> None:
    """SIGKILL while its answer is on the way and has not arrived: answered once after the start, or never."""
    with stage.faults.stall(path="/send/", user=stage.bot) as stalled:
        question = await stage.ask()
        await stalled.until_hit(watch=[stage.bot], timeout_s=stage.patience_s)
        await stage.kill_bot()
    await stage.bot.start_again()
    if stage.way == "unanswered":
        await stage.each_answered_once(question)
        return
    await stage.answered(question)
    await stage.each_answered_once()


@scenario("killed-after-answer")
async def killed_after_answer(stage: Stage) -> None:
    """SIGKILL after its answer has arrived and before it knows: after the start it is not answered again."""
    with stage.faults.hold_response(path="/send/", user=stage.bot) as held:
        question = await stage.ask()
        await held.until_hit(watch=[stage.bot], timeout_s=stage.patience_s)
        await stage.answered(question)
        await stage.kill_bot()
    await stage.bot.start_again()
    await stage.each_answered_once()


@scenario("state-lost", default=NOT_PROMISED)
async def state_lost(stage: Stage) -> None:
    """Its database is gone at the start: it answers in the same room, makes no new one, repeats nothing."""
    rooms = await stage.owner.joined_rooms()
    await stage.stop_bot()
    database = Path(stage.bot.env["MATRIX_DB_PATH"])
    for file in database.parent.glob(f"{database.stem}*"):
        file.unlink()
    await stage.bot.start_again()
    await stage.each_answered_once()
    if stage.owner.seen.invited or await stage.owner.joined_rooms() != rooms:
        raise AssertionError("without its database the bot made new rooms")


# -- rooms


@scenario("kicked")
async def kicked(stage: Stage) -> None:
    """It is kicked from one room and goes on in the other."""
    await stage.owner.kick(stage.spare, stage.bot.user_id, "tidying up")
    await stage.each_answered_once()
    must.be_running(stage.bot)


@scenario("kicked-while-down")
async def kicked_while_down(stage: Stage) -> None:
    """It is kicked from one room while it is down, starts all the same, and goes on in the other."""
    await stage.stop_bot()
    await stage.owner.kick(stage.spare, stage.bot.user_id, "tidying up")
    await stage.bot.start_again()
    await stage.each_answered_once()
    must.be_running(stage.bot)


# -- the way to the homeserver


@scenario("server-restart", own_server=True)
async def server_restart(stage: Stage) -> None:
    """The homeserver crashes and comes back; the next question is answered, once."""
    stage.server.require(Capability.KILL)
    await stage.server.kill()
    await stage.server.start_again()
    await stage.each_answered_once()


@scenario("gateway-errors")
async def gateway_errors(stage: Stage) -> None:
    """A reverse proxy answers 502 with HTML for a while; afterwards all goes on."""
    with stage.faults.html(502, user=stage.bot) as rule:
        stage.faults.cut_open()
        await rule.until_hit(2, watch=[stage.bot], timeout_s=stage.patience_s)
    await stage.each_answered_once()


@scenario("broken-sync")
async def broken_sync(stage: Stage) -> None:
    """The sync that brings a question arrives cut in the middle; the question is answered once all the same."""
    word = stage.new_word()
    # Not just the next sync: that one may bring nothing but the bot's own answer before.
    body = json.dumps(stage.promises.ask.format(word=word), ensure_ascii=False)
    with stage.faults.truncate(path="/sync", user=stage.bot, containing=body, times=1) as cut:
        question = await stage.ask(word=word)
        await cut.until_hit(watch=[stage.bot], timeout_s=stage.patience_s)
        await stage.answered(question)
    await stage.each_answered_once()


@scenario("rate-limit-storm")
async def rate_limit_storm(stage: Stage) -> None:
    """Its answer is refused with 429 four times: it waits as long as asked, and the answer comes once."""
    noted = len(stage.faults.transcript)
    with stage.faults.rate_limited(RETRY_AFTER_MS, path="/send/", user=stage.bot, times=4):
        await stage.ask_and_hear()
    tries = [entry for entry in stage.faults.transcript.entries(path="/send/", since=noted) if entry.status == 429]
    waits_ms = [1000 * wait_s for wait_s in waits_before_retries(tries)]
    if waits_ms and min(waits_ms) < 0.8 * RETRY_AFTER_MS:
        raise AssertionError(f"told to wait {RETRY_AFTER_MS} ms, the bot tried again after {min(waits_ms):.0f} ms")
    await stage.each_answered_once()


def waits_before_retries(tries: Iterable[Entry]) -> list[float]:
    """Give the seconds between one try to send a message and the next try to send the same.

    The same is what says the same in the same room, under whatever transaction id: some bots make a new one each time.
    Two messages sent at once are two, each with its own waits.
    """
    by_message: dict[tuple[str, str], list[float]] = {}
    for entry in tries:
        by_message.setdefault((entry.path.rpartition("/")[0], entry.sent), []).append(entry.at)
    return [later - earlier for times in by_message.values() for earlier, later in itertools.pairwise(times)]


@scenario("lost-response")
async def lost_response(stage: Stage) -> None:
    """The homeserver takes its answer, and the connection breaks before it knows: it is not said twice."""
    # More than once, because HTTP libraries repeat a PUT by themselves, and then the bot's own code is not reached.
    with stage.faults.drop_response(path="/send/", user=stage.bot, times=LOST_RESPONSES) as dropped:
        question = await stage.ask()
        await dropped.until_hit(watch=[stage.bot], timeout_s=stage.patience_s)
        await stage.answered(question)
        await stage.each_answered_once()


@scenario("dead-token")
async def dead_token(stage: Stage) -> None:
    """Its access token is not valid any more: it ends, logs in again or waits, but does not spin."""

    with stage.faults.unknown_token(user=stage.bot, where=lambda call: not call.path.endswith("/login")) as rule:
        stage.faults.cut_open()
        await rule.until_hit(timeout_s=stage.patience_s)
        began, hits = time.monotonic(), rule.hits
        while stage.bot.is_running() and time.monotonic() - began < CALM_S:
            if rule.hits - hits > CALM_REQUESTS:
                took_s = time.monotonic() - began
                raise AssertionError(f"{rule.hits - hits} requests with a dead token within {took_s:.1f} s")
            await asyncio.sleep(0.05)
