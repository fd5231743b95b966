"""SIGKILL at random moments while people write: no message lost, none answered twice, no room made twice.

The test asks the homeserver, as the people see it, and believes nothing that the bot says of itself. `--crashes 50` is
the long form; a failure names its seed for `--crash-seed`.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from greenroom.bot_process import RunningBot
from greenroom.people.person import Person
from greenroom.waiting import NotYet, until
from tests.e2e.scene import IDENTITY, Scene, set_up

RESPONDER = {"MATRIX_RESPONDER": "tests.e2e.slow_responder:make", "SLOW_S": "0.05"}
"""The answers are slow enough for a kill to come before they are sent."""


UNSOUND = ("encryption_keys_lost", "key_ids_taken", "key_upkeep_failed", "device_not_signed")
"""Log events of a device whose keys and those on the homeserver are apart."""


@dataclass
class Writer:
    """A person who writes. `said` and `asked_for` hold what the homeserver accepted: text -> event id."""

    person: Person
    scene: Scene
    said: dict[str, str] = field(default_factory=dict)
    asked_for: dict[str, str] = field(default_factory=dict)

    async def write(self, chance: random.Random, stop: asyncio.Event) -> None:
        """Send messages, and sometimes a request for a new chat, until `stop` is set."""
        number = 0
        while not stop.is_set():
            number += 1
            text = f"{self.person.account.localpart} {number}"
            if chance.random() < 0.1:
                self.asked_for[text] = await self.person.send_text(self.scene.chat, f"!new {text}")
            else:
                self.said[text] = await self.person.send_text(self.scene.chat, text)
            await asyncio.sleep(chance.uniform(0.05, 0.4))

    async def answers(self, bot_id: str) -> Counter[str]:
        """Count the texts of all the bot's messages in this person's chat, as the homeserver has them."""
        return Counter(
            [e["content"]["body"] async for e in history(self.person, self.scene.chat) if e["sender"] == bot_id]
        )

    async def chats(self) -> list[dict[str, Any]]:
        """Return the identity of each chat among all rooms of this person."""
        await self.person.join_invites()
        found = [await self.person.state(room, IDENTITY) for room in await self.person.joined_rooms()]
        return [dict(content) for content in found if content and content["kind"] == "chat"]


@dataclass
class Patience:
    """A condition for `ready` that can be switched off. While it is off, a kill can also hit a bot that is starting."""

    wait_until_live: bool = True

    def __call__(self, bot: RunningBot) -> str | None:
        if self.wait_until_live and not bot.events("matrix_live"):
            return "it is not live yet"
        return None


async def history(person: Person, room: str) -> AsyncIterator[dict[str, Any]]:
    """Yield every message of a room, newest first."""
    start = ""
    while True:
        page = await person.client.room_messages(room, start, limit=200, message_filter={"types": ["m.room.message"]})
        for event in page.chunk:
            yield event.source
        if not page.end or not page.chunk:
            return
        start = page.end


@pytest.mark.timeout(900)
async def test_sigkill_at_any_moment_loses_nothing_and_doubles_nothing(person, bot, request):
    """A bot that is killed at random moments answers every message exactly once and makes each requested chat once."""
    # 1. Three people have a chat each. 2. They write while the bot is killed and started again and again.
    # 3. They stop, the bot starts a last time and catches up. 4. The homeserver's history of each chat is judged.
    crashes = request.config.getoption("--crashes")
    seed = request.config.getoption("--crash-seed")
    seed = secrets.randbelow(10**6) if seed is None else seed
    print(f"--crashes {crashes} --crash-seed {seed}")
    chance = random.Random(seed)
    patience = Patience()
    greenroom = await bot([sys.executable, "-m", "greenroom_bot"], env=RESPONDER, ready=patience)
    writers = [Writer(p, await set_up(p, greenroom)) for p in [await person(n) for n in ("alice", "carol", "dave")]]
    stop = asyncio.Event()
    writing = [asyncio.create_task(w.write(random.Random(chance.random()), stop)) for w in writers]

    patience.wait_until_live = False
    await crash_repeatedly(greenroom, crashes, chance)
    stop.set()
    await asyncio.gather(*writing)
    patience.wait_until_live = True
    await greenroom.start_again()

    for writer in writers:
        await settle(writer, greenroom)
    for writer in writers:
        await judge(writer, greenroom.user_id)
    print(f"{sum(len(w.said) for w in writers)} messages, {sum(len(w.asked_for) for w in writers)} new chats asked for")


@pytest.mark.timeout(900)
async def test_a_first_start_that_is_killed_at_any_moment_starts_again(bot, request):
    """A bot that is killed before it was ever live starts again, with the same device and the same keys."""
    # Half of the kills come at any moment, half while the device's keys are on their way: just after the login.
    crashes, chance = request.config.getoption("--crashes"), random.Random(request.config.getoption("--crash-seed"))
    for number in range(crashes):
        patience = Patience(wait_until_live=False)
        greenroom = await bot([sys.executable, "-m", "greenroom_bot"], ready=patience)
        if number % 2:
            await until(lambda b=greenroom: b.events("logged_in"), "the bot to log in", every_s=0.01, watch=[greenroom])
            await asyncio.sleep(chance.uniform(0.0, 0.1))
        else:
            await asyncio.sleep(chance.uniform(0.0, 2.5))
        await greenroom.kill()
        patience.wait_until_live = True

        await greenroom.start_again()

        assert [line["event"] for line in greenroom.events() if line["event"] in UNSOUND] == []
        await greenroom.stop()


async def crash_repeatedly(bot: RunningBot, crashes: int, chance: random.Random) -> None:
    """Kill the bot and start it again at once, at moments before, during and long after its reconciliation."""
    for _ in range(crashes):
        await asyncio.sleep(chance.choice((chance.uniform(0.0, 1.5), chance.uniform(1.0, 4.0))))
        await bot.kill()
        await bot.start_again()
    await bot.kill()


async def settle(writer: Writer, bot: RunningBot) -> None:
    """Wait until every message and every request has an answer."""

    async def check() -> bool | NotYet:
        answers = await writer.answers(bot.user_id)
        missing = [text for text in writer.said if not answers[text]]
        missing += [text for text in writer.asked_for if not any(f"“{text}”" in a for a in answers)]
        return NotYet(f"{len(missing)} unanswered: {missing[:5]}") if missing else True

    await until(check, f"an answer to all that {writer.person} said", timeout_s=60, every_s=0.5, watch=[bot])


async def judge(writer: Writer, bot_id: str) -> None:
    """Check that each message has one answer, each request one reply and one chat, and that there are no others."""
    answers, chats = await writer.answers(bot_id), await writer.chats()
    first = await writer.person.state(writer.scene.chat, IDENTITY) or {}

    assert writer.said, f"{writer.person} wrote nothing"
    assert {text: answers[text] for text in writer.said} == dict.fromkeys(writer.said, 1)
    replies = {text: sum(n for a, n in answers.items() if f"“{text}”" in a) for text in writer.asked_for}
    assert replies == dict.fromkeys(writer.asked_for, 1)
    assert answers.total() == len(writer.said) + len(writer.asked_for)
    assert sorted(chat["request"] for chat in chats) == sorted([first["request"], *writer.asked_for.values()])
    assert len({chat["chat_id"] for chat in chats}) == len(chats)
