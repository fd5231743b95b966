"""The scenarios: each is one disturbance, and what a bot that keeps its promise does then.

A scenario raises AssertionError when the bot breaks its promise, and HarnessError when it cannot tell. To prove an
absence, a scenario asks a later question and waits for its answer.
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
from greenroom.errors import Happened, Misuse
from greenroom.faults import Entry
from greenroom.homeserver.interface import Capability
from greenroom.scenarios.promises import NOT_PROMISED, YES, BotPromises
from greenroom.scenarios.stage import Stage
from greenroom.waiting import NotYet

BURST = 25  # a homeserver puts ten events of a room into a sync by default
LOST_RESPONSES = 3
RETRY_AFTER_MS = 400
CALM_REQUESTS = 40  # in CALM_S; a bot that retries without a pause sends hundreds
CALM_S = 3.0

Run = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A scenario. `ways`: what a bot can promise, first the way that `yes` means. `default`: without a promise."""

    name: str
    summary: str
    run: Run
    ways: tuple[str, ...]
    default: str
    own_server: bool = False

    def way_of(self, promises: BotPromises) -> str:
        """Return the way that a bot promises, or NOT_PROMISED. Raises Misuse for a way that does not exist."""
        value = promises.promises.get(self.name, self.default)
        if value in (NOT_PROMISED, *self.ways):
            return value
        if value == YES:
            return self.ways[0]
        allowed = dict.fromkeys((YES, *self.ways, "no"))
        raise Misuse(f"{self.name} cannot be {value!r}; it can be {', '.join(allowed)}")


CATALOGUE: dict[str, Scenario] = {}


def find_scenario(name: str) -> Scenario:
    """Return a scenario. Raises Misuse, with the names that exist, if there is none of that name."""
    if name not in CATALOGUE:
        raise Misuse(f"there is no scenario {name!r}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def scenario(name: str, *ways: str, default: str | None = None, own_server: bool = False) -> Callable[[Run], Run]:
    """Add a function to the catalogue. The first line of its docstring becomes the summary."""

    def enter(run: Run) -> Run:
        summary = (run.__doc__ or "").strip().splitlines()[0]
        ways_or_yes = ways or (YES,)
        CATALOGUE[name] = Scenario(name, summary, run, ways_or_yes, default or ways_or_yes[0], own_server)
        return run

    return enter


# -- nothing special


@scenario("answers")
async def answers(stage: Stage) -> None:
    """The bot answers a question once."""
    await stage.each_answered_once()


@scenario("ignores-notices")
async def ignores_notices(stage: Stage) -> None:
    """The bot does not answer a notice: bots send notices, and two bots would answer each other for ever."""
    notice = await stage.ask(msgtype="m.notice")
    await stage.each_answered_once()
    said = checks.message(sender=stage.bot.user_id, room=stage.chat, after=notice.event_id, containing=notice.answer)
    if "{word}" in stage.promises.answer and not isinstance(said(stage.owner.seen), NotYet):
        raise Happened(f"{stage.bot.user_id} answered a notice", notice.text)


@scenario("invite-from-a-stranger")
async def invite_from_a_stranger(stage: Stage) -> None:
    """Somebody else invites the bot. It joins, or does not, as `invites` promises."""
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
    """The bot stops within ten seconds of SIGTERM."""
    await stage.stop_bot()


# -- restarts


@scenario("restart-keeps-rooms")
async def restart_keeps_rooms(stage: Stage) -> None:
    """After a restart the bot is in the same rooms, makes no new ones, and answers where it answered before."""
    await stage.owner.sync()
    rooms = await stage.owner.joined_rooms()
    members = {room: await stage.owner.members(room) for room in rooms}

    await stage.stop_bot()
    await stage.bot.start_again()
    await stage.each_answered_once()

    if invited := len(stage.owner.seen.invited):
        raise AssertionError(f"after the restart the bot invited its owner to {invited} more room(s)")
    now = {room: await stage.owner.members(room) for room in await stage.owner.joined_rooms()}
    if now != members:
        raise AssertionError(f"the restart changed room members: before {members}, now {now}")


@scenario("restart-repeats-nothing")
async def restart_repeats_nothing(stage: Stage) -> None:
    """After two restarts the bot has answered no old question again."""
    for _ in range(2):
        await stage.ask_and_hear()
        await stage.stop_bot()
        await stage.bot.start_again()
    await stage.each_answered_once()


@scenario("message-while-down", "once", "unanswered")
async def message_while_down(stage: Stage) -> None:
    """After the start the bot answers a question from its downtime once, or never, as promised."""
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
    """One sync cannot hold all questions from the downtime. The bot answers each of them once."""
    await stage.stop_bot()
    questions = [await stage.ask() for _ in range(BURST)]
    await stage.bot.start_again()
    for question in questions:
        await stage.answered(question)
    await stage.each_answered_once()


@scenario("killed-before-answer", "once", "unanswered")
async def killed_before_answer(stage: Stage) -> None:
    """SIGKILL before the answer reaches the homeserver. After the start the bot answers once, or never, as promised."""
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
    """SIGKILL after the answer has reached the homeserver, before the bot knows. The bot does not answer again."""
    with stage.faults.hold_response(path="/send/", user=stage.bot) as held:
        question = await stage.ask()
        await held.until_hit(watch=[stage.bot], timeout_s=stage.patience_s)
        await stage.answered(question)
        await stage.kill_bot()
    await stage.bot.start_again()
    await stage.each_answered_once()


@scenario("state-lost", default=NOT_PROMISED)
async def state_lost(stage: Stage) -> None:
    """The bot starts without its database. It answers in the same room, makes no new room, repeats nothing."""
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
    """A member kicks the bot from one room. It still answers in the other."""
    await stage.owner.kick(stage.spare, stage.bot.user_id, "tidying up")
    await stage.each_answered_once()
    must.be_running(stage.bot)


@scenario("kicked-while-down")
async def kicked_while_down(stage: Stage) -> None:
    """A member kicks the bot from one room while it is down. It starts, and still answers in the other."""
    await stage.stop_bot()
    await stage.owner.kick(stage.spare, stage.bot.user_id, "tidying up")
    await stage.bot.start_again()
    await stage.each_answered_once()
    must.be_running(stage.bot)


# -- the way to the homeserver


@scenario("server-restart", own_server=True)
async def server_restart(stage: Stage) -> None:
    """The homeserver crashes and comes back. The bot answers the next question once."""
    stage.server.require(Capability.KILL)
    await stage.server.kill()
    await stage.server.start_again()
    await stage.each_answered_once()


@scenario("gateway-errors")
async def gateway_errors(stage: Stage) -> None:
    """A reverse proxy answers 502 with HTML for a while. Afterwards the bot answers as before."""
    with stage.faults.html(502, user=stage.bot) as rule:
        stage.faults.cut_open()
        await rule.until_hit(2, watch=[stage.bot], timeout_s=stage.patience_s)
    await stage.each_answered_once()


@scenario("broken-sync")
async def broken_sync(stage: Stage) -> None:
    """The sync that brings a question breaks off in the middle. The bot still answers the question once."""
    word = stage.new_word()
    # The next sync is not enough: it may bring only the bot's own previous answer.
    body = json.dumps(stage.promises.ask.format(word=word), ensure_ascii=False)
    with stage.faults.truncate(path="/sync", user=stage.bot, containing=body, times=1) as cut:
        question = await stage.ask(word=word)
        await cut.until_hit(watch=[stage.bot], timeout_s=stage.patience_s)
        await stage.answered(question)
    await stage.each_answered_once()


@scenario("rate-limit-storm")
async def rate_limit_storm(stage: Stage) -> None:
    """The homeserver refuses the answer with 429 four times. The bot waits as told, and answers once."""
    noted = len(stage.faults.transcript)
    with stage.faults.rate_limited(RETRY_AFTER_MS, path="/send/", user=stage.bot, times=4):
        await stage.ask_and_hear()
    tries = [entry for entry in stage.faults.transcript.entries(path="/send/", since=noted) if entry.status == 429]
    waits_ms = [1000 * wait_s for wait_s in waits_before_retries(tries)]
    if waits_ms and min(waits_ms) < 0.8 * RETRY_AFTER_MS:
        raise AssertionError(f"told to wait {RETRY_AFTER_MS} ms, the bot tried again after {min(waits_ms):.0f} ms")
    await stage.each_answered_once()


def waits_before_retries(tries: Iterable[Entry]) -> list[float]:
    """Return the seconds between tries to send the same message.

    Two sends count as one message if room and content are equal; the transaction id may differ. Two messages sent at
    the same time count separately.
    """
    by_message: dict[tuple[str, str], list[float]] = {}
    for entry in tries:
        by_message.setdefault((entry.path.rpartition("/")[0], entry.sent), []).append(entry.at)
    return [later - earlier for times in by_message.values() for earlier, later in itertools.pairwise(times)]


@scenario("lost-response")
async def lost_response(stage: Stage) -> None:
    """The homeserver accepts the answer, but the connection breaks first. The bot does not answer twice."""
    # More than once: an HTTP library repeats a PUT by itself, and then the bot's own code does not see the failure.
    with stage.faults.drop_response(path="/send/", user=stage.bot, times=LOST_RESPONSES) as dropped:
        question = await stage.ask()
        await dropped.until_hit(watch=[stage.bot], timeout_s=stage.patience_s)
        await stage.answered(question)
        await stage.each_answered_once()


@scenario("dead-token")
async def dead_token(stage: Stage) -> None:
    """The access token is no longer valid. The bot ends, logs in again or waits, but sends no flood of requests."""
    with stage.faults.unknown_token(user=stage.bot, where=lambda call: not call.path.endswith("/login")) as rule:
        stage.faults.cut_open()
        await rule.until_hit(timeout_s=stage.patience_s)
        began, hits = time.monotonic(), rule.hits
        while stage.bot.is_running() and time.monotonic() - began < CALM_S:
            if rule.hits - hits > CALM_REQUESTS:
                took_s = time.monotonic() - began
                raise AssertionError(f"{rule.hits - hits} requests with a dead token within {took_s:.1f} s")
            await asyncio.sleep(0.05)
