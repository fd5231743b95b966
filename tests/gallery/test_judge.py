"""`failed` and `inconclusive` are two verdicts: a bot fails only for what it does itself."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from greenroom.scenarios import CATALOGUE, NOT_PROMISED, Verdict, load_promises, run, run_all
from greenroom.scenarios.load import parse_promises

pytestmark = pytest.mark.e2e

ENDS = parse_promises({"name": "ends", "command": [sys.executable, "-c", "exit(3)"]}, "x", Path())


async def test_a_bot_that_does_not_start_fails_the_first_scenario_only(greenroom, homeserver, tmp_path):
    """A bot that never starts fails `answers`; every other scenario is inconclusive."""
    first = await run(greenroom, homeserver, ENDS, CATALOGUE["answers"], bundles=tmp_path)
    other = await run(greenroom, homeserver, ENDS, CATALOGUE["kicked"], bundles=tmp_path)

    assert (first.verdict, first.why) == (Verdict.FAILED, "the bot did not start: ended with exit code 3")
    assert other.verdict is Verdict.INCONCLUSIVE
    assert other.why.startswith("nothing could be tried: the bot did not start: ended with exit code 3")
    assert {first.bundle.name, other.bundle.name} == {"ends-answers", "ends-kicked"}


async def test_a_homeserver_that_is_away_is_not_the_bots_fault(greenroom, fresh_homeserver, tmp_path):
    """If the homeserver is down, the scenario is inconclusive, and without a folder for bundles none is written."""
    server = await fresh_homeserver()
    await server.kill()

    result = await run(greenroom, server, ENDS, CATALOGUE["answers"])

    assert (result.verdict, result.bundle) == (Verdict.INCONCLUSIVE, None)
    assert "got no answer" in result.why


async def test_what_is_not_promised_is_not_run(greenroom, homeserver):
    """A scenario with `no` in the promises appears as `not promised`, and takes no time."""
    promises = ENDS.model_copy(update={"promises": {"state-lost": NOT_PROMISED}})
    result = await run(greenroom, homeserver, promises, CATALOGUE["state-lost"])

    assert (result.verdict, result.seconds) == (Verdict.NOT_PROMISED, 0.0)


TWICE = ["answers", "ignores-notices", "kicked", "restart-keeps-rooms"]


@pytest.fixture
def one_port():
    """A bot with a fixed port, on one that is free."""
    bot = load_promises(Path(__file__).with_name("good.yaml"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        env = {**bot.env, "BOT_PORT": str(free.getsockname()[1])}
    return bot.model_copy(update={"name": "one-port", "command": "python binds_a_port.py", "env": env})


async def test_a_bot_with_a_fixed_port_is_never_started_twice(one_port, greenroom, homeserver):
    """One bot runs at a time, so a fixed port, a lock or a cache accuses nobody."""
    results = await run_all(greenroom, homeserver, one_port, only=TWICE)

    assert {result.verdict for result in results} == {Verdict.PASSED}


async def test_a_collision_of_two_copies_is_ours(one_port, greenroom, homeserver, tmp_path):
    """If the file promises `several: yes` and the port is fixed, the verdict names the port and the other copy."""
    several = one_port.model_copy(update={"several": True})

    results = await run_all(greenroom, homeserver, several, only=TWICE, jobs=3, bundles=tmp_path)

    collided = [result for result in results if result.verdict is not Verdict.PASSED]
    assert collided
    for result in collided:
        assert result.verdict is Verdict.INCONCLUSIVE, result.reason
        assert f"could not open port {several.env['BOT_PORT']}" in result.why
        assert "another process of this test run" in result.reason
