"""Everything that docs/encrypted.md shows is run: the bot keeps its promises, and the tests pass."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from greenroom.scenarios import CATALOGUE
from greenroom.scenarios.load import load_promises
from tests.examples.test_examples import HERE, copy_example, elsewhere, judge, run_pytest

GUIDE = (HERE.parents[1] / "docs" / "encrypted.md").read_text()
EXAMPLE = HERE / "encrypted"

pytestmark = pytest.mark.e2e
__all__ = ["elsewhere"]  # a fixture


def test_the_guide_shows_the_files_as_they_are():
    """The guide shows the bot, its promises and its tests letter by letter, and nothing else."""
    blocks = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)

    assert blocks == [(EXAMPLE / name).read_text() for name in ("echo_bot.py", "echo_bot.yaml", "test_echo_bot.py")]


def test_the_example_keeps_its_promises_and_passes_its_tests(elsewhere):
    """The bot keeps every promise, with the warning that the guide shows; its tests pass."""
    copy_example(EXAMPLE.name, elsewhere)
    promised = load_promises(elsewhere / "echo_bot.yaml").promises

    judged = judge(elsewhere, "echo_bot.yaml", promised)
    tested = run_pytest(elsewhere, "-o", "asyncio_mode=auto")

    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert re.findall(r"^(\S+) +yes +passed", judged.stdout, re.MULTILINE) == list(promised)
    warning = r"warning: the bot's device (\S+) is not cross-signed; clients begin to exclude it \(MSC4153\)"
    assert re.search(rf"^answers .*{warning}$", judged.stdout, re.MULTILINE)
    assert re.search(rf"^    answers .*{warning}$", GUIDE, re.MULTILINE)
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"^=+ 2 passed\b", tested.stdout, re.MULTILINE)


def test_a_first_contact_writes_the_file_with_the_warning(elsewhere):
    """`--encrypted` stands in the file that is written, and the warning is a comment there."""
    shutil.copy(EXAMPLE / "echo_bot.py", elsewhere)
    command = "greenroom scenarios --bot 'python echo_bot.py' --encrypted --write echo_bot.yaml"
    words = [sys.executable, "-m", *shlex.split(command), "--only", "answers,new-device"]

    tried = subprocess.run(words, cwd=elsewhere, capture_output=True, text=True, timeout=200, check=False)
    written = (elsewhere / "echo_bot.yaml").read_text()

    assert f"    {command}\n" in GUIDE
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert re.search(r"^  # warning: the bot's device \S+ is not cross-signed", written, re.MULTILINE)
    promises = load_promises(elsewhere / "echo_bot.yaml")
    assert (promises.encrypted, dict(promises.promises)) == (True, {"answers": "yes", "new-device": "yes"})


def test_the_guide_lists_every_scenario_for_encrypted_chats():
    """Each has its name and its summary there."""
    own = [one for one in CATALOGUE.values() if one.act.__module__.endswith(".encrypted")]

    assert len(own) == 6
    assert [one.name for one in own if f"| `{one.name}` | {one.summary} |" not in GUIDE] == []
