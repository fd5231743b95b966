"""What a killed run left is found and removed; nothing else is ever touched."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from greenroom.errors import HarnessError
from greenroom.homeserver.container.labels import ContainerEngines
from greenroom.processes import runs
from greenroom.processes.procfs import ProcessIdentity, identify, myself, started_at

ENGINES = ContainerEngines()
SLEEP = [sys.executable, "-S", "-c", "import time; print(flush=True); time.sleep(60)"]


@pytest.fixture
def sleeper():
    """A factory of real processes that do nothing; ended with the test."""
    started = []

    def start(**environment: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(SLEEP, env=environment, start_new_session=True, stdout=subprocess.PIPE)
        started.append(child)
        assert child.stdout is not None
        child.stdout.readline()  # the kernel shows the environment a moment after `Popen` returns
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def ended(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        return False
    return True


def dead_run(root) -> runs.RecordedRun:
    """A run whose owner is gone: a pid that lives, with the start time of another process."""
    run_id = f"run-{myself().pid}-00000000.1-abcd"
    folder = root / run_id
    folder.mkdir()
    run = runs.RecordedRun(run_id, folder)
    run.save()
    return run


def test_a_run_of_a_living_process_is_left_alone(tmp_path):
    """Two test runs at once do not sweep each other."""
    run = runs.begin(tmp_path)

    assert runs.sweep(ENGINES, tmp_path) == []
    assert run.folder.exists()


def test_a_dead_run_loses_its_processes_and_its_folder(tmp_path, sleeper):
    """Processes noted in the manifest are ended, the folder removed."""
    run = dead_run(tmp_path)
    child = sleeper()
    run.started("homeserver", identify(child.pid))

    assert runs.sweep(ENGINES, tmp_path) == [run.run_id]

    assert ended(child)
    assert not run.folder.exists()


def test_a_process_that_no_manifest_knows_is_found_by_its_environment(tmp_path, sleeper):
    """Grandchildren inherit the run's mark."""
    run = dead_run(tmp_path)
    child = sleeper(**run.environment)

    runs.sweep(ENGINES, tmp_path)

    assert ended(child)


def test_a_reused_pid_is_never_touched(tmp_path, sleeper):
    """Same pid, other start time: somebody else's process."""
    run = dead_run(tmp_path)
    stranger = sleeper()
    run.processes["bot:1"] = ProcessIdentity(stranger.pid, "00000000/1")
    run.save()

    runs.sweep(ENGINES, tmp_path)

    assert stranger.poll() is None


def test_folders_that_are_not_ours_stay(tmp_path):
    """A sweep takes only what is named like a run of a dead process; a damaged manifest is no reason to stop."""
    for name in ("notes", "run-me-not-please-no", "run-1-2"):
        (tmp_path / name).mkdir()
    dead = dead_run(tmp_path)
    (dead.folder / runs.MANIFEST).write_text("{")

    assert runs.sweep(ENGINES, tmp_path) == [dead.run_id]

    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "run-1-2", "run-me-not-please-no"]


def test_a_kept_run_stays_until_it_is_asked_for(tmp_path):
    """--keep-greenroom outlives ordinary sweeps."""
    run = dead_run(tmp_path)
    run.keep()

    assert runs.sweep(ENGINES, tmp_path) == []
    assert runs.sweep(ENGINES, tmp_path, kept_too=True) == [run.run_id]


def test_closing_a_run_ends_its_processes_and_removes_its_folder(tmp_path, sleeper):
    """The ordinary end leaves nothing for a sweep."""
    run = runs.begin(tmp_path)
    child = sleeper(**run.environment)

    run.close(ENGINES)

    assert ended(child)
    assert list(tmp_path.iterdir()) == []


def test_the_root_of_all_runs_is_private_and_ours(tmp_path):
    """A prepared symlink in a shared temporary folder is refused."""
    root = runs.runs_root({"GREENROOM_RUNS_DIR": str(tmp_path / "new")})
    assert root.stat().st_mode & 0o777 == 0o700

    (tmp_path / "trap").symlink_to(tmp_path)
    with pytest.raises(HarnessError, match="is not a folder of yours"):
        runs.runs_root({"GREENROOM_RUNS_DIR": str(tmp_path / "trap")})


def test_a_zombie_counts_as_gone():
    """A process that has ended but was not waited for holds nothing any more."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    identity = ProcessIdentity(child.pid, started_at(child.pid) or "gone")
    deadline = time.monotonic() + 5
    while identity.is_alive():
        assert time.monotonic() < deadline
    child.wait()
