"""A supervised process, tested with small real children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from greenroom.errors import Died
from greenroom.processes.process import Command, ManagedProcess
from greenroom.processes.procfs import started_at
from greenroom.processes.runs import NO_RUN, RecordedRun, Run, load
from greenroom.waiting import until


def python(tmp_path, code: str, run: Run = NO_RUN) -> ManagedProcess:
    argv = [sys.executable, "-S", "-c", code]
    return ManagedProcess(Command("child", argv, tmp_path, dict(os.environ), tmp_path / "child.log"), run=run)


async def until_logged(process: ManagedProcess, text: str) -> None:
    await until(lambda: text in process.log_text(), f"the log to have {text!r}", every_s=0.01)


async def test_stop_kills_a_process_that_ignores_sigterm(tmp_path):
    """A process that ignores SIGTERM is killed when the time limit of the stop is over."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = python(tmp_path, code)
    process.spawn()
    await until_logged(process, "up")

    assert await process.stop(timeout_s=0.2) == -signal.SIGKILL


async def test_a_paused_process_can_be_stopped_cleanly(tmp_path):
    """A stop wakes a paused process, so that its own SIGTERM handler runs."""
    code = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print('up', flush=True); "
        "signal.sigwait({15}); raise SystemExit(7)"
    )
    process = python(tmp_path, code)
    process.spawn()
    await until_logged(process, "up")
    process.pause()

    assert await process.stop(timeout_s=5) == 7


async def test_stop_reaches_what_the_process_started(tmp_path):
    """A stop signals the whole session, so a shell's children end too."""
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    process = python(tmp_path, code)
    process.spawn()
    await until_logged(process, "\n")
    grandchild = int(process.log_text())

    await process.stop()

    await until(lambda: started_at(grandchild) is None, "the grandchild to end", timeout_s=5, every_s=0.01)


async def test_a_process_that_ended_is_reported_with_how_and_its_last_lines(tmp_path):
    """The error of an ended process has the exit code, the last log lines and the path of the log."""
    process = python(tmp_path, "print('one'); print('two'); raise SystemExit(3)")
    process.spawn()
    await process.wait(10)

    with pytest.raises(Died) as caught:
        process.check_alive()

    log = tmp_path / "child.log"
    assert str(caught.value) == (
        f"child died: ended with exit code 3\n  last log lines:\n    one\n    two\n  full log: {log}"
    )


async def test_each_start_reads_its_own_part_of_the_log(tmp_path):
    """A ready line of an earlier start does not count for the latest one."""
    process = python(tmp_path, "import os; print(os.getpid())")
    for _ in range(2):
        process.spawn()
        await process.wait(10)

    assert process.log_text() == f"{process.pid}\n"
    assert len((tmp_path / "child.log").read_text().splitlines()) == 2


async def test_a_process_carries_the_mark_of_its_run_and_is_noted_in_the_manifest(tmp_path):
    """A later run finds the process by pid and start time, and the process's children by the mark."""
    code = "import os, time; print(os.environ['GREENROOM_RUN'], flush=True); time.sleep(60)"
    process = python(tmp_path, code, run=RecordedRun("run-1", tmp_path))
    process.spawn()
    await until_logged(process, "\n")

    noted = load(tmp_path)
    await process.stop()

    assert process.log_text() == "run-1\n"
    assert noted is not None
    assert [identity.pid for identity in noted.processes.values()] == [process.pid]


async def test_a_child_dies_with_its_parent(tmp_path):
    """A child ends with its parent even if SIGKILL leaves the parent no time to clean up."""
    child = "import time; print('up', flush=True); time.sleep(60)"
    parent = f"""
import os, sys, time
from pathlib import Path
from greenroom.processes.process import Command, ManagedProcess
folder = Path({str(tmp_path)!r})
argv = [sys.executable, "-S", "-c", {child!r}]
command = Command("child", argv, folder, dict(os.environ), folder / "log")
process = ManagedProcess(command)
process.spawn()
print(process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(  # noqa: ASYNC220 - the loop has nothing else to do
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        log = tmp_path / "log"
        await until(lambda: "up" in log.read_text(), "the child to be up", every_s=0.01)
        running.kill()

    await until(lambda: started_at(pid) is None, "the child to die", timeout_s=5, every_s=0.01)


async def test_a_process_that_outlives_us_does_nothing_before_it_is_noted(tmp_path):
    """A command killed between starting a process and noting it leaves none that nobody would find."""
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    command = Command(
        "child", [sys.executable, "-c", code], tmp_path, dict(os.environ), tmp_path / "log", dies_with_parent=False
    )
    killed = f"""
import os
from pathlib import Path
from greenroom.processes.process import Command, ManagedProcess
from greenroom.processes.runs import Run

class Killed(Run):
    def started(self, name, identity):
        print(identity.pid, flush=True)
        os._exit(1)

folder = Path({str(tmp_path)!r})
argv = [{sys.executable!r}, "-c", {code!r}]
command = Command("child", argv, folder, dict(os.environ), folder / "log", dies_with_parent=False)
ManagedProcess(command, run=Killed()).spawn()
"""
    answer = subprocess.run([sys.executable, "-c", killed], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    pid = int(answer.stdout)

    await until(lambda: started_at(pid) is None, "the child to end", timeout_s=5, every_s=0.01)
    assert not (tmp_path / "ran").exists()

    process = ManagedProcess(command)
    process.spawn()
    assert await process.wait(10) == 0
    assert (tmp_path / "ran").exists()


async def test_a_child_started_on_a_passing_thread_lives_on(tmp_path):
    """A child outlives the thread that asked for it, though the kernel ties the parent-death signal to a thread."""
    process = python(tmp_path, "print('up', flush=True); import time; time.sleep(60)")
    up = threading.Event()
    thread = threading.Thread(target=lambda: (process.spawn(), up.wait(10)))
    thread.start()
    await until(lambda: process.is_running() and "up" in process.log_text(), "the child to be up", every_s=0.01)
    up.set()
    thread.join()

    await asyncio.sleep(0.05)
    assert process.is_running()
    await process.stop()
