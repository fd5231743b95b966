"""Everything that the guides show is run: each example in an empty folder, and every piece of code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from greenroom.scenarios import CATALOGUE
from greenroom.scenarios.load import load_promises

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
GUIDE = (DOCS / "testing-your-bot.md").read_text()
PROMISES = (DOCS / "promises.md").read_text()
PAGES = "".join(page.read_text() for page in sorted(DOCS.glob("*.md")))
SHOWN = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", PAGES, re.DOTALL | re.MULTILINE)
BLOCKS = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", GUIDE + PROMISES, re.DOTALL | re.MULTILINE)
SNIPPETS = [block for block in BLOCKS if block.startswith("async def test_")]
FIXTURES = [block for block in BLOCKS if block.startswith("@pytest_asyncio.fixture")]
HEADER = "from greenroom import checks, must, never\n\n\n"
FIXTURE_HEADER = "import pytest_asyncio\nfrom greenroom.homeserver import HomeserverSettings\n\n\n"
USE = """

async def test_fixture(person, homeserver):
    assert (await person("alice")).server is homeserver
"""

pytestmark = pytest.mark.e2e


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty folder. Its runs are kept apart from those of other tests."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def copy_example(example: str, folder: Path) -> None:
    """Copy an example into a folder."""
    shutil.copytree(HERE / example, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a reader would, without any configuration."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(folder.parent / "tmp"),
        *args,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)


def judge(folder: Path, promises: str, only: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run some scenarios of a promises file as a command."""
    command = [sys.executable, "-m", "greenroom", "scenarios", "--promises", promises, "--only", ",".join(only)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize(
    "file",
    sorted(p for p in HERE.glob("*/*") if p.suffix in (".py", ".yaml")),
    ids=lambda p: f"{p.parent.name}-{p.name}",
)
def test_the_guide_shows_the_files_as_they_are(file):
    """A guide shows each file of the examples letter by letter."""
    assert file.read_text() in SHOWN


@pytest.mark.parametrize(
    ("example", "tests", "promised"),
    [
        ("nio", "echo or answers or gateway", {"answers": "yes"}),
        ("simplematrixbotlib", "echo", {"answers": "yes", "message-while-down": "unanswered"}),
    ],
)
def test_an_example_passes_in_an_empty_folder(elsewhere, example, tests, promised):
    """In an empty folder an example passes its tests and some of its scenarios, under pytest and as a command."""
    if example == "simplematrixbotlib":
        pytest.importorskip("simplematrixbotlib")
    copy_example(example, elsewhere)

    answer = run_pytest(elsewhere, "-k", tests)
    judged = judge(elsewhere, "echo_bot.yaml", promised)

    assert answer.returncode == 0, answer.stdout
    assert re.search(r"^=+ 3 passed\b", answer.stdout, re.MULTILINE)
    assert judged.returncode == 0, judged.stdout
    verdicts = re.findall(r"^(\S+) +(\S+) +passed", judged.stdout, re.MULTILINE)
    assert dict(verdicts) == promised


@pytest.mark.parametrize("example", ["configured", "token"])
def test_an_example_of_a_promises_file_keeps_what_it_promises(elsewhere, example):
    """The bot gets its account from `config` or `env` alone, without a wrapper script."""
    copy_example(example, elsewhere)
    promised = load_promises(elsewhere / "bot.yaml").promises

    judged = judge(elsewhere, "bot.yaml", promised)

    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert re.findall(r"^(\S+) .* passed", judged.stdout, re.MULTILINE) == [n for n in CATALOGUE if n in promised]


def test_a_mistake_is_the_line_that_the_guide_shows(elsewhere):
    """The guide shows the line for a misspelled field, and its exit code."""
    (elsewhere / "my_bot.yaml").write_text("comand: python my_bot.py\n")

    judged = judge(elsewhere, "my_bot.yaml", ["answers"])

    assert judged.returncode == 2
    assert f"\n    {judged.stderr}" in PROMISES


def test_every_piece_of_code_of_the_guide_runs(elsewhere):
    """Every piece of code in the guide runs as it is shown, beside the echo bot."""
    shutil.copy(HERE / "nio" / "echo_bot.py", elsewhere)
    (elsewhere / "test_guide.py").write_text(HEADER + "\n\n".join(SNIPPETS))
    for number, block in enumerate(FIXTURES):
        (elsewhere / f"test_fixture_{number}.py").write_text(FIXTURE_HEADER + block + USE)

    answer = run_pytest(elsewhere, "-o", "asyncio_mode=auto")

    assert answer.returncode == 0, answer.stdout
    assert re.search(rf"^=+ {len(SNIPPETS + FIXTURES)} passed\b", answer.stdout, re.MULTILINE)


def test_the_guide_lists_every_scenario():
    """The guide, or the page for bots of one kind, lists each scenario with the summary of the catalogue."""
    missing = [s.name for s in CATALOGUE.values() if f"| `{s.name}` | {s.summary}" not in PAGES]
    assert missing == []


def test_a_scenario_without_its_promises_is_told_in_one_line(elsewhere):
    """A `scenario` test without a promises file, or with one that cannot be read, fails with one line that says so."""
    (elsewhere / "test_a.py").write_text(
        "import pytest\n@pytest.mark.scenarios('none.yaml')\nasync def test_a(scenario): pass\n"
    )
    (elsewhere / "test_b.py").write_text("async def test_b(scenario): pass\n")

    answer = run_pytest(elsewhere, "-o", "asyncio_mode=auto", "--continue-on-collection-errors")

    assert "none.yaml: cannot be read: No such file or directory" in answer.stdout
    assert 'needs @pytest.mark.scenarios("my_bot.yaml") on the test' in answer.stdout
