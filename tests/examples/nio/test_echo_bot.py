import pytest

from greenroom import must


@pytest.mark.asyncio
async def test_it_echoes(person, bot):
    alice, echo = await person("alice"), await bot("python echo_bot.py")
    room = await must.chat(alice, echo)
    await must.answer(alice, echo, room, "hello", "hello")
