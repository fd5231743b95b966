"""SIGKILL at random moments while people write: no message lost, none answered twice, no room made twice.

The test asks the homeserver, as the people see it, and believes nothing that the bot says of itself. `--crashes 50` is
the long form; a failure names its seed for `--crash-seed`.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from greenroom import must
from greenroom.bot_process import RunningBot
from greenroom.people.person import Person
from greenroom.waiting import NotYet, until
from tests.e2e.scene import IDENTITY, Scene, set_up

RESPONDER = {"MATRIX_RESPONDER": "tests.e2e.slow_responder:make", "SLOW_S": "0.05"}
"""The answers are slow enough for a kill to come before they are sent."""
MESSAGES = ("m.room.message", "m.room.encrypted")
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
        """Count the texts of all the bot's messages in this person's chat, as the homeserver has them.

        A message that this person cannot decrypt counts as `m.megolm.v1.aes-sha2`.
        """
        await self.person.sync()  # brings the keys
        sent = [e["content"] async for e in events(self.person, self.scene.chat) if e["sender"] == bot_id]
        return Counter(content.get("body") or content["algorithm"] for content in sent)

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


async def events(person: Person, room: str) -> AsyncIterator[dict[str, Any]]:
    """Yield every message of a room as the homeserver has it, newest first, decrypted if this person has the key."""
    start = ""
    while True:
        page = await person.client.room_messages(room, start, limit=200, message_filter={"types": list(MESSAGES)})
        for event in page.chunk:
            if event.source["type"] in MESSAGES:  # not every homeserver heeds the filter
                yield event.source
        if not page.end or not page.chunk:
            return
        start = page.end


@pytest.mark.timeout(900)
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_sigkill_at_any_moment_loses_nothing_and_doubles_nothing(person, bot, request, encrypted):
    """A bot that is killed at random moments answers every message exactly once and makes each requested chat once."""
    # 1. Three people have a chat each. 2. They write while the bot is killed and started again and again.
    # 3. They stop, the bot starts a last time and catches up. 4. The homeserver's history of each chat is judged.
    crashes = request.config.getoption("--crashes")
    seed = request.config.getoption("--crash-seed")
    seed = secrets.randbelow(10**6) if seed is None else seed
    print(f"--crashes {crashes} --crash-seed {seed}")
    chance = random.Random(seed)
    patience = Patience()
    env = {**RESPONDER, "MATRIX_ENCRYPT_ROOMS": str(int(encrypted))}
    greenroom = await bot([sys.executable, "-m", "greenroom_bot"], env=env, ready=patience)
    people = [await person(name, encrypted=encrypted) for name in ("alice", "carol", "dave")]
    writers = [Writer(p, await set_up(p, greenroom, encrypted=encrypted)) for p in people]
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
async def test_a_first_start_that_is_killed_at_any_moment_starts_again(bot, faults, request):
    """A bot that is killed before it was ever live starts again, with the same device and the same keys."""
    # In turn the kill comes at any moment, just after the login, and when the homeserver has the device's keys but its
    # answer was lost.
    crashes, chance = request.config.getoption("--crashes"), random.Random(request.config.getoption("--crash-seed"))
    for number in range(crashes):
        patience = Patience(wait_until_live=False)
        lose = faults.drop_response(path="/keys/upload", times=1) if number % 3 == 2 else nullcontext()
        with lose:
            greenroom = await bot([sys.executable, "-m", "greenroom_bot"], ready=patience, through=faults)
            if number % 3:
                await greenroom.until_logged(("logged_in", "waiting")[number % 3 - 1])
            await asyncio.sleep((chance.uniform(0.0, 2.5), chance.uniform(0.0, 0.1), 0)[number % 3])
            await greenroom.kill()
        patience.wait_until_live = True

        await greenroom.start_again()

        assert [line["event"] for line in greenroom.events() if line["event"] in UNSOUND] == []
        await greenroom.stop()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_an_older_database_with_a_new_device_repeats_no_answer(person, bot, encrypted):
    """A restored copy of the database does not know the latest answers; the homeserver does, and so the bot does.

    Transaction ids do not help: they count per device, and the store did not come back with the database.
    """
    alice = await person("alice", encrypted=encrypted)
    greenroom = await bot(env={"MATRIX_ENCRYPT_ROOMS": str(int(encrypted))})
    scene = await set_up(alice, greenroom, encrypted=encrypted)
    await must.answer(alice, greenroom, scene.chat, "before the copy")
    await greenroom.stop()
    database = Path(greenroom.env["MATRIX_DB_PATH"])
    copy = database.read_bytes()
    await greenroom.start_again()
    for number in range(3):
        await must.answer(alice, greenroom, scene.chat, f"after the copy {number}")
    await greenroom.stop()

    database.write_bytes(copy)
    shutil.rmtree(greenroom.env["MATRIX_STORE_PATH"])
    missed = (
        "" if encrypted else await alice.send_text(scene.chat, "nobody heard this")
    )  # its key went to the old device
    await greenroom.start_again()
    if missed:
        await must.say(alice, greenroom, scene.chat, "nobody heard this", after=missed)
    await alice.sync()  # as any client at work: it hears of the new device before it encrypts the next message
    await must.answer(alice, greenroom, scene.chat, "and now?")

    (start,) = greenroom.events("logged_in")
    assert start["fresh"]
    sent = [e async for e in events(alice, scene.chat) if e["sender"] == greenroom.user_id]
    answered = Counter(e["content"]["m.relates_to"]["event_id"] for e in sent if e["type"] in MESSAGES)
    assert set(answered.values()) == {1}
    assert len(answered) == 5 + bool(missed)


async def crash_repeatedly(bot: RunningBot, crashes: int, chance: random.Random) -> None:
    """Kill the bot and start it again at once, at moments before, during and long after its reconciliation."""
    for _ in range(crashes):
        await asyncio.sleep(chance.choice((chance.uniform(0.0, 1.5), chance.uniform(1.0, 4.0))))
        await bot.kill()
        await bot.start_again()
    await bot.kill()


async def settle(writer: Writer, bot: RunningBot) -> None:
    """Wait until every message and every request has an answer. After many kills the bot has hundreds to give."""

    async def check() -> bool | NotYet:
        answers = await writer.answers(bot.user_id)
        missing = [text for text in writer.said if not answers[text]]
        missing += [text for text in writer.asked_for if not any(f"“{text}”" in a for a in answers)]
        return NotYet(f"{len(missing)} unanswered: {missing[:5]}") if missing else True

    what, limit_s = f"an answer to all that {writer.person} said", 60 + len(writer.said)
    await until(check, what, timeout_s=limit_s, every_s=1.0, watch=[bot])


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
