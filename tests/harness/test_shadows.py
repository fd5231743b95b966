"""A project has a fixture called `bot`, `person`, `faults` or `homeserver`: it works, and a mix-up is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.test_plugin import run_pytest

CONFTEST = """
import pytest

@pytest.fixture
def {name}():
    return ["{name}"]
"""
USE = {
    "bot": "await bot('python my_bot.py')",
    "person": "await person('alice')",
    "faults": "faults.every('/sync')",
    "homeserver": "await homeserver.kill()",
}
ALIASES = ("bot", "person", "faults")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty project whose runs stay in it."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\ngreenroom_backend = process\n")
    return tmp_path


def report(project: Path, test: str, conftest: str) -> str:
    """Write a test and a conftest, run them, and return what pytest prints."""
    (project / "conftest.py").write_text(conftest)
    (project / "test_it.py").write_text(test)
    return run_pytest(project).stdout


@pytest.mark.parametrize("name", USE)
def test_a_mix_up_names_the_fixture_that_shadows_ours(project, name):
    """The test imports from greenroom, so it expected our fixture; the TypeError alone would not say whose it got."""
    test = f"from greenroom import must\n\nasync def test_it({name}):\n    {USE[name]}\n"

    shown = report(project, test, CONFTEST.format(name=name))

    assert "1 failed" in shown
    assert f"the fixture `{name}` of conftest.py:4 shadows Greenroom's. " in shown
    assert (f"Greenroom's own is also there as `greenroom_{name}`" in shown) == (name in ALIASES)


@pytest.mark.parametrize("ours", ["person", "bot", "faults"])
def test_a_homeserver_that_is_none_fails_every_fixture_that_lives_on_it(project, ours):
    """The fixture is refused in a sentence, before a person or a bot trips over it."""
    shown = report(project, f"def test_it({ours}): pass\n", CONFTEST.format(name="homeserver"))

    assert "1 error" in shown
    assert "the fixture `homeserver` of conftest.py:4 shadows Greenroom's and returned a list. Try: rename it" in shown
    assert "Traceback" not in shown


def test_a_fixture_in_the_test_module_is_named_with_its_line(project):
    """It need not be in a conftest."""
    test = CONFTEST.format(name="bot") + "\nfrom greenroom import must\n\ndef test_it(bot):\n    bot.start()\n"

    assert "the fixture `bot` of test_it.py:4 shadows Greenroom's." in report(project, test, "")


@pytest.mark.parametrize(
    ("test", "conftest"),
    [
        ("def test_it(bot):\n    bot.start()\n", CONFTEST.format(name="bot")),
        ("from greenroom import must\n\ndef test_it(bot):\n    assert bot == 1\n", CONFTEST.format(name="bot")),
        (
            "from greenroom import must\n\ndef test_it(bot):\n    None.start()\n",
            CONFTEST.format(name="bot").replace("bot()", "bot(homeserver_settings)"),
        ),
        (
            "import greenroom, pytest\n\n@pytest.mark.parametrize('bot', [1])\ndef test_it(bot):\n    bot.start()\n",
            "",
        ),
        ("from greenroom import must\n\ndef test_it():\n    None.start()\n", CONFTEST.format(name="bot")),
    ],
    ids=[
        "the test has nothing to do with greenroom",
        "it failed for another reason",
        "the fixture is built on one of ours",
        "a parameter",
        "not used by the test",
    ],
)
def test_a_fixture_that_is_no_mix_up_is_not_mentioned(project, test, conftest):
    """Overriding a fixture is good pytest."""
    shown = report(project, test, conftest)

    assert "1 failed" in shown
    assert "shadows" not in shown


EXTERNAL = """
import pytest
from greenroom.homeserver.external import ExternalHomeserver

@pytest.fixture
def homeserver():
    return ExternalHomeserver("http://127.0.0.1:9", "hs1")
"""


def test_a_homeserver_that_is_overridden_on_purpose_is_not_mentioned(project):
    """The guide shows how to override it; people and faults live on the one that the project returns."""
    test = "async def test_it(person, faults, homeserver):\n    assert faults.server is homeserver\n    None.start()\n"

    shown = report(project, test, EXTERNAL)

    assert "AttributeError: 'NoneType'" in shown
    assert "shadows" not in shown


def test_ours_are_reached_by_their_long_names(project):
    """A project that has fixtures of these names still uses ours beside them."""
    test = (
        "from greenroom.session import BotFactory, PersonFactory\n"
        "from greenroom.faults import FaultProxy\n\n"
        "async def test_it(bot, person, faults, greenroom_bot, greenroom_person, greenroom_faults):\n"
        "    assert (bot, person, faults) == (['bot'], ['person'], ['faults'])\n"
        "    assert isinstance(greenroom_bot, BotFactory)\n"
        "    assert isinstance(greenroom_person, PersonFactory)\n"
        "    assert isinstance(greenroom_faults, FaultProxy)\n"
    )

    shown = report(project, test, EXTERNAL + "".join(CONFTEST.format(name=name) for name in ALIASES))

    assert "1 passed" in shown
