"""`start`, `stop` and `restart` find out who carries them out, and a stray request harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time

import pytest

from greenroom.commands.dev import control as module
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import control, forget_requests, requests
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import down, noted_state, owning, read_owner, run_id
from greenroom.errors import HarnessError
from greenroom.processes.procfs import myself, pids_with_environment
from greenroom.processes.runs import MARKER
from tests.harness.test_dev_folder import STATE


@pytest.fixture
def folder(tmp_path) -> DevFolder:
    """The dev state of an empty project."""
    folder = DevFolder(tmp_path)
    folder.prepare()
    return folder


@pytest.fixture
def running(folder):
    """A process that carries the mark of the project's dev environment."""
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: run_id(folder)})
    try:
        # Popen returns when the exec has closed its pipe; Linux shows the new environment only a moment later.
        deadline = time.monotonic() + 10
        while child.pid not in pids_with_environment(f"{MARKER}={run_id(folder)}"):
            assert time.monotonic() < deadline, "the environment of the child never showed"
        yield child
    finally:
        child.kill()
        child.wait()


def test_only_a_dev_in_the_foreground_answers_requests(folder):
    """A `restart` or a detaching `dev` owns the environment too, but would never look at a request."""
    with owning(folder, answers=True):
        assert read_owner(folder, answering=True) == myself()
    with owning(folder):
        assert read_owner(folder) == myself()
        assert read_owner(folder, answering=True) is None


def test_a_command_waits_for_another_one(folder, monkeypatch):
    """Two terminals: the second acts when the first has ended."""
    folder.write_state(STATE, {"MATRIX_HOMESERVER": "x"})
    done = []

    async def act(*_):
        done.append(time.monotonic())
        return 0

    monkeypatch.setattr(module, "recorded_parts", lambda _: None)
    monkeypatch.setattr(module, "_act", act)
    second = threading.Thread(target=control, args=(folder, "stop", "bot"))
    with owning(folder):
        second.start()
        second.join(0.2)
        assert done == []

    second.join(5)

    assert len(done) == 1


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "[]",
        "{}",
        '{"action": "dance"}',
        '{"action": "restore", "name": "../../elsewhere"}',
        '{"action": "stop", "part": "teapot"}',
        '{"action": "stop", "part": 1}',
        "\xff",
        None,
    ],
)
def test_a_file_that_is_no_request_goes_away(folder, text):
    """It must not end `dev`; the next request is carried out."""
    folder.requests.mkdir()
    stray = folder.requests / "1.json"
    if text is None:
        stray.mkdir()
    else:
        stray.write_text(text, encoding="latin-1")
    (folder.requests / "2.json").write_text(json.dumps({"action": "stop", "part": "bot"}))

    assert [(each.wish.action, each.wish.part) for each in requests(folder)] == [("stop", "bot")]
    assert list(folder.requests.iterdir()) == []


@pytest.mark.parametrize("as_folder", [True, False])
def test_whatever_is_in_the_place_of_the_requests_goes_away(folder, as_folder):
    """A new `dev` begins with none."""
    (folder.requests / "x").mkdir(parents=True) if as_folder else folder.requests.touch()

    forget_requests(folder)

    assert not folder.requests.exists()


def test_without_dev_json_it_is_said_what_runs_all_the_same(folder, running):
    """ "No dev environment runs" would be wrong."""
    with pytest.raises(HarnessError, match=rf"dev.json is gone, but .* runs \(pid {running.pid}\); try: .*down"):
        noted_state(folder)


def test_while_dev_starts_the_others_say_so(folder):
    """ "No dev environment runs; try: dev" would send the reader in a circle."""
    with owning(folder), pytest.raises(HarnessError, match=rf"starts in .* \(pid {os.getpid()}\); wait"):
        noted_state(folder)


def test_down_finds_what_runs_after_the_folder_was_deleted(tmp_path, running, folder, capsys):
    """`rm -rf .greenroom` stops nothing; `down` finds the processes by their mark."""
    for path in sorted(folder.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.root.rmdir()

    assert down(folder, console=Console()) == 0

    assert f"(pid {running.pid})" in capsys.readouterr().out
    assert running.wait(5) != 0
    assert not folder.root.exists()
