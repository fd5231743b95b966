"""The plugin's fixtures in projects without any configuration, and what a killed test run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenroom.processes.procfs import pids_with_environment, started_at

# pytest-asyncio itself warns where its default loop scope is not chosen, as in most projects.
ASYNCIO_DEFAULT = "ignore:The configuration option:pytest.PytestDeprecationWarning"

TEST_FILE = """
import pytest
from greenroom.checks import invited, message

@pytest.mark.asyncio
async def test_talk(homeserver, person):
    alice, carol = await person("alice"), await person("carol")
    room = await alice.create_direct(carol.user_id)
    await carol.until(invited(by=alice.user_id))
    await carol.join_invites()
    await alice.send_text(room, "hi")
    await carol.until(message("hi", room=room))

@pytest.mark.asyncio
async def test_names_are_unique_per_test(person):
    assert (await person("alice")).user_id.startswith("@alice-test-names-are-unique")

@pytest.mark.asyncio(loop_scope="module")
async def test_other_loop(homeserver):
    homeserver.check_alive()
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PROJECT_OF_TEST", str(tmp_path))
    (tmp_path / "test_talk.py").write_text(TEST_FILE)
    return tmp_path


def command(*args: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "-W",
        ASYNCIO_DEFAULT,
        "--greenroom-backend",
        "process",
        *args,
    ]


def marked(folder: Path) -> list[int]:
    return [pid for pid in pids_with_environment(f"PROJECT_OF_TEST={folder}") if started_at(pid)]


@pytest.mark.parametrize("args", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_the_fixtures_work_without_any_configuration(elsewhere, args):
    """They work in strict asyncio mode with a loop per test, on one worker or two, and leave nothing behind."""
    answer = subprocess.run(command(*args), cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False)

    assert answer.returncode == 0, answer.stdout
    assert "3 passed" in answer.stdout
    assert "synapse on backend process" in answer.stdout
    assert list((elsewhere / "runs").iterdir()) == []
    assert marked(elsewhere) == []


def test_what_a_killed_test_run_left_is_swept_by_the_next(elsewhere):
    """If pytest is killed, its homeserver ends at once, and the next run removes its folder."""
    (elsewhere / "test_talk.py").write_text(
        "import time\n\ndef test_hang(homeserver):\n    open('up', 'w').close()\n    time.sleep(60)\n"
    )
    with subprocess.Popen(command(), cwd=elsewhere, stdout=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 60
        while not (elsewhere / "up").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(running.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while marked(elsewhere):
        assert time.monotonic() < deadline, "the homeserver outlived its test run"
        time.sleep(0.05)
    assert len(list((elsewhere / "runs").iterdir())) == 1

    (elsewhere / "test_talk.py").write_text("def test_ok(homeserver): pass\n")
    again = subprocess.run(command(), cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False)

    assert "swept 1 earlier run(s) that had been killed" in again.stdout
    assert list((elsewhere / "runs").iterdir()) == []


def test_kept_files_stay_and_the_report_names_their_folder(elsewhere):
    """With --keep-greenroom databases and logs stay, but no process does."""
    (elsewhere / "test_talk.py").write_text("def test_ok(homeserver): pass\n")
    kept = subprocess.run(
        command("--keep-greenroom"), cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False
    )

    (folder,) = (elsewhere / "runs").iterdir()
    assert f"kept for a look: {folder}" in kept.stdout
    assert list(folder.glob("homeserver-*/homeserver.db"))
    assert marked(elsewhere) == []


MODULE = """
import pytest, pytest_asyncio
from greenroom.homeserver import HomeserverSettings

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def homeserver(greenroom):
    async with greenroom.homeserver(HomeserverSettings(server_name="other.test")) as server:
        yield server

@pytest.mark.asyncio
async def test_own(person, faults):
    assert (await person("alice")).user_id.endswith(":other.test")
    assert faults.server.server_name == "other.test"
"""


def test_a_module_can_have_a_homeserver_of_its_own(elsewhere):
    """People, bots and faults of that module use it; other modules use the shared one."""
    (elsewhere / "test_own.py").write_text(MODULE)

    answer = subprocess.run(command(), cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False)

    assert answer.returncode == 0, answer.stdout
    assert "4 passed" in answer.stdout


def test_settings_that_would_be_ignored_are_refused(elsewhere):
    """The shared homeserver is started once, so one of two different settings would have no effect."""
    (elsewhere / "test_own.py").write_text(
        "import pytest\n\n@pytest.fixture(scope='session')\ndef homeserver_settings(): ...\n\n"
        "def test_own(homeserver): ...\n"
    )

    answer = subprocess.run(command(), cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False)

    assert answer.returncode == 4
    assert "homeserver_settings differ between test_own.py and the default" in answer.stdout + answer.stderr


def test_the_configuration_file_names_the_folder_for_bundles(elsewhere):
    """It is relative to the project, wherever pytest is called; the option is relative to the working directory."""
    (elsewhere / "pytest.ini").write_text("[pytest]\ngreenroom_failures = bundles\n")
    (elsewhere / "deep").mkdir()
    (elsewhere / "test_talk.py").write_text("def test_no(homeserver): assert False\n")

    for options in ((), ("--greenroom-failures", "chosen")):
        subprocess.run(command("..", *options), cwd=elsewhere / "deep", capture_output=True, timeout=120, check=False)

    assert [path.name for path in (elsewhere / "bundles").iterdir()] == ["test_talk.py-test_no"]
    assert [path.name for path in (elsewhere / "deep" / "chosen").iterdir()] == ["test_talk.py-test_no"]
