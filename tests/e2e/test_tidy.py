"""A whole scene, killed in the middle or run on several workers: nothing clashes and nothing stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.processes.procfs import pids_with_environment, started_at
from greenroom.processes.runs import HEAD
from tests.e2e.sharing import wait_for

BOT = Path(__file__).parents[1] / "examples" / "nio" / "echo_bot.py"

# Each test writes down what it was given, so that the workers' can be compared.
SCENE = """
import json, time
from pathlib import Path
import pytest
from greenroom import must

@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.asyncio
async def test_scene(number, person, bot, faults, homeserver):
    alice, echo = await person("alice"), await bot("python echo_bot.py", through=faults)
    room = await must.chat(alice, echo)
    await must.answer(alice, echo, room, "hello", "hello")
    given = dict(user=alice.user_id, bot=echo.user_id, folder=str(echo.folder), server=homeserver.url, proxy=faults.url)
    Path(f"given-{{number}}.json").write_text(json.dumps(given))
    while {hang}:
        time.sleep(1)
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A project with a place of its own for runs, whose processes can be told from others by it."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv(HEAD, raising=False)  # each run starts, and ends, all that it needs
    shutil.copy(BOT, tmp_path)
    return tmp_path


def command(folder: Path, *args: str) -> list[str]:
    own = ["-p", "no:cacheprovider", "--basetemp", str(folder / "tmp"), "--greenroom-backend", "process"]
    return [sys.executable, "-m", "pytest", *own, *args]


def living(folder: Path) -> list[int]:
    """Return all that the project's runs have started. A warm parent has no mark but its folder for runs."""
    return [pid for pid in pids_with_environment(f"GREENROOM_RUNS_DIR={folder / 'runs'}") if started_at(pid)]


def runs_in(folder: Path) -> list[Path]:
    return list((folder / "runs").iterdir())


def test_four_workers_share_nothing_but_the_machine(elsewhere):
    """A homeserver for each, no port, name or folder twice, and all is gone afterwards."""
    (elsewhere / "test_scene.py").write_text(SCENE.format(tests=8, hang=False))

    answer = subprocess.run(
        command(elsewhere, "-n", "4"), cwd=elsewhere, capture_output=True, text=True, timeout=250, check=False
    )

    assert "8 passed" in answer.stdout, answer.stdout
    given = [json.loads(file.read_text()) for file in elsewhere.glob("given-*.json")]
    for what in ("user", "bot", "folder", "proxy"):
        assert len({one[what] for one in given}) == 8, what
    assert 1 < len({one["server"] for one in given}) <= 4
    assert runs_in(elsewhere) == []
    assert living(elsewhere) == []


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_sigkill_in_the_middle_and_one_more_run_leave_nothing(elsewhere, workers):
    """Workers, homeservers and bots die with pytest; the folders go with the next run."""
    (elsewhere / "test_scene.py").write_text(SCENE.format(tests=2, hang=True))
    with subprocess.Popen(command(elsewhere, *workers), cwd=elsewhere, stdout=subprocess.DEVNULL) as running:
        wait_for(lambda: len(list(elsewhere.glob("given-*.json"))) >= (2 if workers else 1), 120, "the scene to stand")
        assert len(living(elsewhere)) >= 3
        os.kill(running.pid, signal.SIGKILL)
    wait_for(lambda: not living(elsewhere), 10, "every process to be gone")
    assert len(runs_in(elsewhere)) == (2 if workers else 1)

    (elsewhere / "test_scene.py").write_text(SCENE.format(tests=1, hang=False))
    again = subprocess.run(command(elsewhere), cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False)

    assert "1 passed" in again.stdout, again.stdout
    assert "that had been killed" in again.stdout
    assert runs_in(elsewhere) == []
    assert living(elsewhere) == []
