"""A project of somebody else: ten lines test an echo bot, and message and bundle explain what is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "nio"

MORE_TESTS = """
import pytest
from greenroom import must

@pytest.mark.asyncio
async def test_wrong_answer(person, bot):
    alice, echo = await person("alice"), await bot("python echo_bot.py")
    room = await must.chat(alice, echo)
    await must.answer(alice, echo, room, "hello", "hello")
    await must.answer(alice, echo, room, "hello again", "goodbye", timeout_s=1)

@pytest.mark.asyncio
async def test_no_start(bot):
    await bot(["python", "-c", "import os; print('my password is', os.environ['MATRIX_PASSWORD']); exit(5)"])

@pytest.mark.asyncio
async def test_bad_homeserver(fresh_homeserver):
    await fresh_homeserver(extra={"database": {"name": "no such engine"}})

def test_ours_not_used():
    assert False
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder with the example and nothing else, so without any configuration."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    for name in ("echo_bot.py", "test_echo_bot.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    return tmp_path


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, as its owner would."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(folder / "tmp"), *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150, check=False)


def bundles(folder: Path) -> dict[str, Path]:
    """Return the failure bundles in a folder by name."""
    return {path.name: path for path in folder.iterdir()} if folder.exists() else {}


def test_ten_lines_test_a_bot_and_leave_no_bundle(elsewhere):
    """The documented example passes with at most ten lines of test, and leaves no failure bundle."""
    assert len([line for line in (elsewhere / "test_echo_bot.py").read_text().splitlines() if line.strip()]) <= 10

    answer = run_pytest(elsewhere)

    assert answer.returncode == 0, answer.stdout
    assert "1 passed" in answer.stdout
    assert bundles(elsewhere / "tmp" / "greenroom-failures") == {}


def test_a_broken_bot_is_explained_by_the_message_and_by_the_bundle(elsewhere):
    """The cause is in the first line of the message and of the timeline; the bundle has every part."""
    bot = elsewhere / "echo_bot.py"
    bot.write_text(bot.read_text().replace('"body": event.body', '"body": event.text'))

    answer = run_pytest(elsewhere)

    assert answer.returncode == 1
    cause = "ended with exit code 1: AttributeError: 'RoomMessageText' object has no attribute 'text'"
    assert f"E       greenroom.errors.Died: bot died: {cause}" in answer.stdout
    assert "in on_message" in answer.stdout
    assert "base_client.py" not in answer.stdout  # of the bot's own frames only
    (bundle,) = bundles(elsewhere / "tmp" / "greenroom-failures").values()
    assert f"failure bundle: {bundle}\nrepeat just this: pytest test_echo_bot.py::test_it_echoes\n" in answer.stdout
    assert f"look at it: {bundle / 'report.html'}\n" in answer.stdout
    report = (bundle / "report.html").read_text()
    assert cause.replace("'", "&#39;") in report[: report.index("</h1>")]
    assert len(report) < 1_000_000
    named = {Path(path) for path in re.findall(r"full log: (\S+)", answer.stdout)}
    assert named
    assert all(path.parent == bundle and path.is_file() for path in named), named  # the bot's own folder is deleted
    texts = ("failure.txt", "http.txt", "versions.txt")
    parts = (*texts, "bot-*.env", "bot-*.log", "homeserver.log", "homeserver-settings.yaml")
    assert [len(list(bundle.glob(part))) for part in parts] == [1] * len(parts)
    timeline = (bundle / "timeline.txt").read_text().splitlines()
    assert timeline[2] == f"# the bot {cause}"
    timeline = [line for line in timeline if not line.startswith("#")]
    assert sum("createRoom" in line for line in timeline) == 1
    assert re.search(r"^bot-.*\n  python 3", (bundle / "versions.txt").read_text(), re.MULTILINE)
    order = [next(n for n, line in enumerate(timeline) if what in line) for what in ("createRoom", "AttributeError")]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("workers", "environment"),
    [((), {"DOCKER_HOST": "unix:///nowhere"}), (("-n", "2"), {})],
    ids=["alone, without an engine", "two workers"],
)
def test_each_kind_of_failure_has_a_bundle_without_secrets(elsewhere, monkeypatch, workers, environment):
    """Each failure with a bot or a homeserver leaves a bundle without secrets; a failure without them leaves none."""
    (elsewhere / "test_more.py").write_text(MORE_TESTS)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    answer = run_pytest(elsewhere, "test_more.py", "--greenroom-failures", "failures", *workers)

    assert "4 failed" in answer.stdout, answer.stdout
    found = bundles(elsewhere / "failures")
    assert set(found) == {f"test_more.py-test_{name}" for name in ("wrong_answer", "no_start", "bad_homeserver")}
    assert answer.stdout.count("failure bundle: ") == 3
    wrong, no_start, bad = (
        found[f"test_more.py-test_{name}"] for name in ("wrong_answer", "no_start", "bad_homeserver")
    )
    assert "to say 'goodbye'" in (wrong / "failure.txt").read_text()
    assert "hello" in (wrong / "http.txt").read_text()
    assert "my password is [redacted]" in "".join(path.read_text() for path in no_start.glob("bot-*.log"))
    assert "ended with exit code 5" in (no_start / "failure.txt").read_text()
    assert "Error in configuration" in "".join(path.read_text() for path in bad.glob("homeserver*.log"))
    files = {path: path.read_text() for bundle in found.values() for path in bundle.iterdir()}
    assert [path for path, text in files.items() if "syt_" in text] == []
    as_process = "backend: process" in (wrong / "homeserver-settings.yaml").read_text()
    rendered = [text for path, text in files.items() if path == wrong / "homeserver.yaml"]
    assert as_process or not environment
    assert len(rendered) == (1 if as_process else 0)  # a container keeps this file inside
    assert [text for text in rendered if "registration_shared_secret: '[redacted]'" not in text] == []
