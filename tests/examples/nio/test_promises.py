import pytest


@pytest.mark.asyncio
@pytest.mark.scenarios("echo_bot.yaml")
async def test_it_keeps_its_promises(scenario):
    await scenario()
