"""What people do on the stage becomes a test that passes as it stands, and fails when the bot is broken."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from greenroom import waiting
from greenroom.bot_process import RunningBot
from greenroom.faults import FaultProxy, fault_proxy
from greenroom.homeserver import RunningHomeserver
from greenroom.stage.being.player import Player
from greenroom.stage.people import People
from greenroom.stage.script import AnswerSeen, BotMoved, BotStep, FaultStep, HomeserverStep, Scene, Script
from greenroom.stage.written import as_test

SERVICE = """async def respond(question):
    return {said}


def make():
    return respond
"""
ECHO, MUTE = SERVICE.format(said="question.body"), SERVICE.format(said="None")


@dataclass
class Played:
    """A homeserver with the blueprint `qa`, the reference bot behind a proxy, and the stage beside them."""

    server: RunningHomeserver
    faults: FaultProxy
    bot: RunningBot
    people: People
    script: Script


@pytest_asyncio.fixture
async def played(fresh_homeserver, bot) -> AsyncIterator[Played]:
    server = await fresh_homeserver(blueprint="qa")
    async with fault_proxy(server) as faults:
        under_test = await bot(account=server.seeded.account("bot"), through=faults)
        scene = Scene(environment={"MATRIX_RESPONDER": "service:make"})
        script = Script(lambda: scene)
        async with People(server, lambda: list(server.seeded.people), lambda: under_test.user_id, script) as people:
            yield Played(server, faults, under_test, people, script)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until the stage has seen something."""
    await waiting.until(lambda: bool(condition()) or waiting.NotYet("it did not come"), what, timeout_s=30)


async def heard(played: Played, text: str) -> AnswerSeen:
    """Wait until an answer with a text is in the script."""
    await until(lambda: any(text in one.text for one in played.script.answers()), f"an answer with {text!r}")
    return next(one for one in played.script.answers() if text in one.text)


def in_pytest(text: str, folder: Path, service: str) -> subprocess.CompletedProcess[str]:
    """Run a written test in a project of its own, whose bot has an answering service."""
    folder.mkdir()
    (folder / "test_stage.py").write_text(text)
    (folder / "service.py").write_text(service)
    command = [sys.executable, "-m", "pytest", "-q", "test_stage.py", "--greenroom-backend", "process"]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


async def talk(played: Played) -> None:
    """Play: two people, a chat that the bot makes, a crash, a lost database, a fault, a homeserver that restarts."""
    people, script, server, bot = played.people, played.script, played.server, played.bot
    alice = await people.log_in("alice")
    first = server.seeded.room("c1")
    await alice.say(first, "hello")
    answer = await heard(played, "hello")
    event = next(one for one in alice.person.seen.timeline if one.event_id == answer.event_id)
    await alice.react(first, event, "👍")
    await alice.reply(first, event, "thank you")
    await heard(played, "thank you")

    carol = await people.log_in("carol")
    chat = await carol.create_direct(bot.user_id)
    await heard(played, "Hello!")
    for room in dict(carol.person.seen.invited):
        await carol.join(room)
    await until(lambda: _made_for(carol, chat), "the bot's chat")
    made = _made_for(carol, chat)[0]
    await carol.say(made, "!rename Tea")
    await heard(played, "Tea")

    script.add(BotStep("kill"))
    await bot.kill()
    await carol.say(made, "are you there?")
    script.add(BotStep("start"))
    await bot.start_again()
    await heard(played, "are you there?")

    script.add(BotStep("lose database"))
    await bot.kill()
    for file in bot.folder.glob("lambda_matrix.db*"):
        file.unlink()
    await bot.start_again()
    await alice.say(first, "still there?")
    await heard(played, "still there?")

    script.add(FaultStep("too many requests", "rate_limited", {"retry_after_ms": 100, "path": "/send/"}))
    rule = played.faults.rate_limited(retry_after_ms=100, path="/send/")
    await alice.say(first, "slowly")
    await rule.until_hit()
    script.add(FaultStep("too many requests", "rate_limited", on=False, hits=rule.hits))
    rule.end()
    await heard(played, "slowly")

    script.add(HomeserverStep("restart"))
    await server.restart()
    await carol.leave(chat)
    erin = await people.register("erin")
    room = await erin.create_room("Party", invite=[bot.user_id, carol.user_id])
    await until(lambda: room in carol.person.seen.invited, "erin's invite")
    await carol.join(room)
    await until(
        lambda: any(isinstance(step, BotMoved) and step.room == room for step in script.steps), "the bot's move"
    )


def _made_for(player: Player, direct: str) -> list[str]:
    """Return the chats that the bot has made for somebody: what is no Space, and not the direct room."""
    seen = player.person.seen
    creations = {room: seen.state_content(room, "m.room.create") or {"type": "m.space"} for room in seen.joined}
    return [room for room, creation in creations.items() if creation.get("type") != "m.space" and room != direct]


async def test_a_written_test_passes_as_it_stands_and_fails_with_a_broken_bot(played, tmp_path):
    """What was played once is a regression test."""
    await talk(played)

    text = as_test(played.script)
    again = await asyncio.to_thread(in_pytest, text, tmp_path / "again", ECHO)
    broken = await asyncio.to_thread(in_pytest, text, tmp_path / "broken", MUTE)

    assert again.returncode == 0, f"{text}\n{again.stdout}"
    assert broken.returncode == 1, broken.stdout
    assert "to say 'hello'" in broken.stdout
