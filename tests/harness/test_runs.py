"""A sweep finds and removes what a killed run left, and touches nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenroom.errors import HarnessError
from greenroom.processes import runs
from greenroom.processes.procfs import ProcessIdentity, identify, myself, started_at

SLEEP = [sys.executable, "-S", "-c", "import time; print(flush=True); time.sleep(60)"]


class Engines:
    """Container engines that have these containers, by URL. Any other engine does not answer."""

    def __init__(self, **containers: list[str]) -> None:
        self.left = containers
        self.rescued: list[str] = []

    def containers(self, url: str, run_id: str) -> list[str]:
        if url not in self.left:
            raise HarnessError(f"no engine at {url}")
        return self.left[url]

    def end_containers(self, url: str, run_id: str, *, rescue: bool) -> list[str]:
        found = self.containers(url, run_id)
        self.rescued += found if rescue else []
        self.left[url] = []
        return found


ENGINES = Engines()


@pytest.fixture
def sleeper():
    """A factory of real processes that do nothing. They end with the test."""
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
    """A run whose owner is dead: its pid is in use, but the start time is another process's."""
    run_id = f"run-{myself().pid}-00000000.1-abcd"
    folder = root / run_id
    folder.mkdir()
    run = runs.RecordedRun(run_id, folder)
    run.save()
    return run


def test_a_run_of_a_living_process_is_left_alone(tmp_path):
    """Two test runs at the same time do not sweep each other."""
    run = runs.begin(tmp_path)

    assert runs.sweep(ENGINES, tmp_path) == []
    assert run.folder.exists()


def test_a_dead_run_loses_its_processes_and_its_folder(tmp_path, sleeper):
    """A sweep ends the processes that the manifest of a dead run names, and removes its folder."""
    run = dead_run(tmp_path)
    child = sleeper()
    run.started("homeserver", identify(child.pid))

    assert runs.sweep(ENGINES, tmp_path) == [run.run_id]

    assert ended(child)
    assert not run.folder.exists()


def test_a_process_that_no_manifest_knows_is_found_by_its_environment(tmp_path, sleeper):
    """A sweep ends grandchildren too, because they inherit the mark of their run."""
    run = dead_run(tmp_path)
    child = sleeper(**run.environment)

    runs.sweep(ENGINES, tmp_path)

    assert ended(child)


def test_a_reused_pid_is_never_touched(tmp_path, sleeper):
    """A process that has the pid of the manifest but another start time is somebody else's."""
    run = dead_run(tmp_path)
    stranger = sleeper()
    run.processes["bot:1"] = ProcessIdentity(stranger.pid, "00000000/1")
    run.save()

    runs.sweep(ENGINES, tmp_path)

    assert stranger.poll() is None


def test_folders_that_are_not_ours_stay(tmp_path):
    """A sweep removes only folders named like the run of a dead process, even if the manifest is damaged."""
    for name in ("notes", "run-me-not-please-no", "run-1-2"):
        (tmp_path / name).mkdir()
    dead = dead_run(tmp_path)
    (dead.folder / runs.MANIFEST).write_text("{")

    assert runs.sweep(ENGINES, tmp_path) == [dead.run_id]

    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "run-1-2", "run-me-not-please-no"]


def test_a_kept_run_stays_until_it_is_asked_for(tmp_path):
    """Only `down --all` removes the folder of a run that `--keep-greenroom` kept."""
    run = dead_run(tmp_path)
    run.keep()

    assert runs.sweep(ENGINES, tmp_path) == []
    assert runs.sweep(ENGINES, tmp_path, kept_too=True) == [run.run_id]


def test_closing_a_run_ends_its_processes_and_removes_its_folder(tmp_path, sleeper):
    """A run that ends in the ordinary way leaves nothing for a sweep."""
    run = runs.begin(tmp_path)
    child = sleeper(**run.environment)

    run.close(ENGINES)

    assert ended(child)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("keep", "rescued"), [(False, []), (True, ["a", "b"])])
def test_a_run_ends_its_containers_on_the_engines_that_it_has_noted(tmp_path, keep, rescued):
    """Only a run that is kept for a look brings its containers' data back. Other engines are not asked."""
    engines = Engines(here=["a", "b"], elsewhere=["c"])
    run = runs.begin(tmp_path)
    run.uses_engine("here")
    assert run.containers(engines) == ["a", "b"]

    run.close(engines, keep=keep)

    assert engines.left == {"here": [], "elsewhere": ["c"]}
    assert engines.rescued == rescued


def test_a_later_sweep_asks_an_engine_again_that_did_not_answer(tmp_path):
    """A run whose containers may still exist keeps its folder and its manifest until its engine has answered."""
    run = dead_run(tmp_path)
    run.uses_engine("away")
    assert run.containers(ENGINES) == []
    assert runs.sweep(ENGINES, tmp_path) == []

    back = Engines(away=["a"])
    assert runs.sweep(back, tmp_path) == [run.run_id]

    assert back.left == {"away": []}


def test_the_root_of_all_runs_is_private_and_ours(tmp_path):
    """The folder of all runs has mode 0700, and a symlink that somebody prepared there is refused."""
    root = runs.runs_root({"GREENROOM_RUNS_DIR": str(tmp_path / "new")})
    assert root.stat().st_mode & 0o777 == 0o700

    (tmp_path / "trap").symlink_to(tmp_path)
    with pytest.raises(HarnessError, match="is not a folder of yours"):
        runs.runs_root({"GREENROOM_RUNS_DIR": str(tmp_path / "trap")})


def test_a_zombie_counts_as_gone():
    """A process that has ended is not alive, even if its parent has not waited for it."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    identity = ProcessIdentity(child.pid, started_at(child.pid) or "gone")
    deadline = time.monotonic() + 5
    while identity.is_alive():
        assert time.monotonic() < deadline
    child.wait()


def test_a_process_has_not_ended_before_all_its_threads_have():
    """Its first thread is a zombie already, and the others hold its files and ports."""
    ends_first = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=[60]).start()"
    child = subprocess.Popen([sys.executable, "-c", f"{ends_first}; ctypes.CDLL(None).pthread_exit(None)"])
    try:
        state = Path(f"/proc/{child.pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)

        assert identify(child.pid).is_alive()
    finally:
        child.kill()
        child.wait()


def test_children_of_a_head_have_the_same_one(tmp_path, monkeypatch):
    """What is costly to start belongs to the head, and the processes below it share it."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path))
    monkeypatch.setenv(runs.HEAD, "")

    assert runs.be_head()

    child = "from greenroom.processes import runs; print(runs.find_head().process.pid)"
    answer = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert int(answer.stdout) == os.getpid()
    assert runs.begin(tmp_path).head == runs.Head(myself(), tmp_path)


def test_a_process_below_a_head_is_none_itself(tmp_path, sleeper):
    """Only the topmost one ends what is shared."""
    head = identify(sleeper().pid)
    environ = {"GREENROOM_RUNS_DIR": str(tmp_path), runs.HEAD: f"{head.pid} {head.started} {tmp_path}"}

    assert not runs.be_head(environ)
    assert runs.find_head(environ) == runs.Head(head, tmp_path)


def test_a_head_that_has_ended_counts_for_nothing(tmp_path, sleeper):
    """Its pid is another process's by now."""
    named = f"{sleeper().pid} 00000000/1 {tmp_path}"

    assert runs.find_head({"GREENROOM_RUNS_DIR": str(tmp_path), runs.HEAD: named}) == runs.Head(myself(), tmp_path)


def test_below_a_head_another_folder_for_runs_does_not_part_what_is_shared(tmp_path, sleeper):
    """What is shared is in the folder of the head's runs, where a sweep of those finds it."""
    head = identify(sleeper().pid)
    environ = {"GREENROOM_RUNS_DIR": str(tmp_path / "other"), runs.HEAD: f"{head.pid} {head.started} {tmp_path}"}

    assert runs.find_head(environ).shared("1").parent == tmp_path
