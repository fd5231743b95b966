"""The code that CONTRIBUTING.md shows works as it is shown."""

from __future__ import annotations

import re
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from greenroom.faults import FaultProxy, actions, proxy
from greenroom.scenarios import CATALOGUE, Verdict, load_promises, run
from greenroom.scenarios.catalogue import basic

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ +```python\n(.*?)^ +```$", TEXT, re.DOTALL | re.MULTILINE)]
SCENARIO, ACTION, METHOD = BLOCKS


@pytest.fixture
def renamed(monkeypatch):
    """The scenario of the document, in the catalogue for one test."""
    monkeypatch.setitem(CATALOGUE, "renamed", None)
    exec(SCENARIO, dict(vars(basic)))
    return CATALOGUE["renamed"]


@contextmanager
def empty_bodies(server: Any):
    """Run a fault proxy that has the fault of the document."""
    of_actions = dict(vars(actions))
    exec(ACTION, of_actions)
    of_proxy = {**vars(proxy), "actions": type("Actions", (), {"empty": staticmethod(of_actions["empty"])})}
    exec(METHOD, of_proxy)
    faults = type("Faults", (FaultProxy,), {"empty": of_proxy["empty"]})(server)
    faults.start()
    try:
        yield faults
    finally:
        faults.close()


async def test_the_scenario_judges_a_bot(renamed, greenroom, homeserver, tmp_path):
    """Its summary is the first line of its docstring, and the good bot of the gallery passes it."""
    good = load_promises(ROOT / "tests" / "gallery" / "good.yaml")

    result = await run(greenroom, homeserver, good, renamed, bundles=tmp_path)

    assert renamed.summary == "A member gives the room another name. The bot still answers there."
    assert result.verdict is Verdict.PASSED, result.reason


async def test_the_fault_changes_what_a_client_gets(homeserver):
    """The homeserver has answered 200 with a body; the client gets 200 and no body, once."""
    with empty_bodies(homeserver) as faults:
        async with aiohttp.ClientSession() as session:
            faults.empty(path="/versions", times=1)
            bodies = []
            for _ in range(2):
                async with session.get(f"{faults.url}/_matrix/client/versions") as answer:
                    bodies.append((answer.status, await answer.text()))

    assert bodies[0] == (200, "")
    assert bodies[1][0] == 200
    assert "versions" in bodies[1][1]
