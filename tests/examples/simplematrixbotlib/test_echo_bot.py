from pathlib import Path

import pytest
import pytest_asyncio

from greenroom import must, never

BOT = Path(__file__).with_name("echo_bot.py")


@pytest_asyncio.fixture
async def scene(person, bot, tmp_path):
    """Alice, the bot in a folder of its own (it keeps its session there), and a chat of both."""
    alice = await person("alice")
    echo = await bot(["python", str(BOT)], cwd=tmp_path)
    return alice, echo, await must.chat(alice, echo)


@pytest.mark.asyncio
async def test_it_echoes(scene):
    alice, echo, room = scene

    await must.answer(alice, echo, room, "!echo something", "something")


@pytest.mark.asyncio
async def test_it_is_quiet_without_its_prefix(scene):
    alice, echo, room = scene

    await never.answer(
        alice, echo, room, "echo something", sentinel=never.answered(alice, echo, room, "!echo end", "end")
    )


@pytest.mark.asyncio
async def test_it_answers_after_a_restart(scene):
    alice, echo, room = scene

    await echo.restart()

    await must.answer(alice, echo, room, "!echo again", "again")
