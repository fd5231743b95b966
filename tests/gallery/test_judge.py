"""`failed` and `inconclusive` are two verdicts: a bot fails only for what it does itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from greenroom.scenarios import CATALOGUE, NOT_PROMISED, Verdict, run
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
