"""Everything that docs/bots-that-speak-first.md shows is run: the bot keeps its promises, and its test passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from greenroom.scenarios import CATALOGUE
from greenroom.scenarios.load import load_promises, parse_promises
from greenroom.scenarios.trigger import Trigger
from tests.examples.test_examples import HERE, copy_example, elsewhere, judge, run_pytest

GUIDE = (HERE.parents[1] / "docs" / "bots-that-speak-first.md").read_text()
EXAMPLE = HERE / "triggered"

pytestmark = pytest.mark.e2e
__all__ = ["elsewhere"]  # a fixture


def test_the_guide_shows_the_files_as_they_are():
    """The guide shows the bot, its promises and its test letter by letter. What else it shows can be read."""
    bot, promises, later, test = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)

    assert [bot, promises, test] == [(EXAMPLE / name).read_text() for name in ("bot.py", "bot.yaml", "test_bot.py")]
    assert parse_promises({**yaml.safe_load(later), "command": "python"}, "guide", Path()).later_s == 3


def test_the_example_keeps_its_promises_and_passes_its_test(elsewhere):
    """The bot speaks once for each trigger, and refuses those that it cannot carry out."""
    copy_example(EXAMPLE.name, elsewhere)
    promised = load_promises(elsewhere / "bot.yaml").promises

    judged = judge(elsewhere, "bot.yaml", promised)
    tested = run_pytest(elsewhere, "-o", "asyncio_mode=auto")

    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert dict(re.findall(r"^(\S+) +(\S+) +passed", judged.stdout, re.MULTILINE)) == promised
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"^=+ 1 passed\b", tested.stdout, re.MULTILINE)


def test_the_guide_lists_every_scenario_and_every_trigger():
    """Each scenario has its name and its summary there, each kind of trigger its line."""
    own = [one for one in CATALOGUE.values() if one.name == "says" or one.act.__module__.endswith(".triggered")]

    assert len(own) == 5
    assert [one.name for one in own if f"| `{one.name}` | {one.summary} |" not in GUIDE] == []
    assert [name for name in Trigger.model_fields if f"| `{name}:" not in GUIDE] == []
