"""`greenroom run`: any program gets a homeserver and people; its exit code, its signals and its end are its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.processes.procfs import pids_with_environment, started_at

RUN = (sys.executable, "-m", "greenroom", "run", "--backend", "process")
WHO_AM_I = "$GREENROOM_HOMESERVER/_matrix/client/v3/account/whoami"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder to run in, with a place of its own for runs. Nothing runs and nothing is there at the end."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("FOLDER_OF_TEST", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert living(tmp_path) == []
    assert not (tmp_path / "runs").exists() or list((tmp_path / "runs").iterdir()) == []


def living(folder: Path) -> list[int]:
    mine = (os.getpid(), *_ancestors())
    return [p for p in pids_with_environment(f"FOLDER_OF_TEST={folder}") if started_at(p) and p not in mine]


def _ancestors() -> tuple[int, ...]:
    return (os.getppid(),)


def run(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *words], capture_output=True, text=True, timeout=120, **options)


def until(condition, what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s} s for {what}"
        time.sleep(0.02)


def test_a_command_reaches_the_homeserver_and_has_its_input_and_output(folder):
    """Its words arrive as they were typed, its output is all there is, and a success leaves nothing."""
    script = 'cat; printf "%s\\n" "$1"; curl -sf $MATRIX_HOMESERVER/_matrix/client/versions >versions'

    done = run("--", "sh", "-c", script, "name", "two  words", input="from stdin\n")

    assert (done.returncode, done.stdout) == (0, "from stdin\ntwo  words\n"), done.stderr
    assert "v1.1" in json.loads((folder / "versions").read_text())["versions"]
    assert not (folder / ".greenroom").exists()


def test_a_failure_keeps_its_exit_code_and_leaves_a_bundle(folder):
    """The bundle has the requests and the log, without secrets; the message has the cause and the path."""
    script = 'curl -s -H "Authorization: Bearer wrong" $MATRIX_HOMESERVER/_matrix/client/v3/account/whoami; exit 7'

    done = run("--", "sh", "-c", script)

    assert done.returncode == 7
    (bundle,) = folder.glob(".greenroom/failures/*/*")
    assert f"bundle: {bundle.relative_to(folder)}" in done.stderr
    cause = "the command's access token is not valid: GET /account/whoami was refused: 401 M_UNKNOWN_TOKEN"
    assert cause in done.stderr
    assert cause in (bundle / "timeline.txt").read_text()
    assert "GET /_matrix/client/v3/account/whoami -> 401" in (bundle / "http.txt").read_text()
    assert (bundle / "homeserver.log").read_text()
    failure = (bundle / "failure.txt").read_text()
    assert "exit code 7\n\nsh -c 'curl" in failure
    assert "repeat just this: " in failure
    assert "run --backend process -- sh -c 'curl" in failure


def test_the_homeserver_of_a_command_has_the_manners_that_are_asked_for(folder):
    """With `join-needs-a-body` it refuses a join without one; people who are made by the harness still are."""
    script = """
        room=_matrix/client/v3/join/%21none%3Agreenroom.test
        join() { curl -s -X POST -H "Authorization: Bearer $MATRIX_ACCESS_TOKEN" "$@"; }
        for url in $MATRIX_HOMESERVER $GREENROOM_HOMESERVER; do join $url/$room; join -d{} $url/$room; done
    """

    done = run("--manners", "join-needs-a-body", "--", "sh", "-c", script)

    refused = [json.loads(answer)["errcode"] for answer in done.stdout.replace("}{", "}\n{").splitlines()]
    assert refused[0] == refused[2] == "M_BAD_JSON", done
    assert "M_BAD_JSON" not in (refused[1], refused[3])


def test_the_people_of_a_blueprint_are_logged_in_and_a_signal_is_128_and_its_number(folder):
    """Variables and GREENROOM_FILE say the same: people with tokens, and the rooms."""
    script = f"""
        cp "$GREENROOM_FILE" told.json
        env >told.env
        curl -sf -H "Authorization: Bearer $GREENROOM_ALICE_ACCESS_TOKEN" {WHO_AM_I}
        curl -sf -H "Authorization: Bearer $GREENROOM_GUEST_ACCESS_TOKEN" {WHO_AM_I}
        curl -sf -H "Authorization: Bearer $MATRIX_ACCESS_TOKEN" {WHO_AM_I}
        kill -KILL $$
    """

    done = run("--seed", "qa", "--person", "guest", "--", "sh", "-c", script, env={**os.environ, "MATRIX_OLD": "1"})

    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    for name in ("alice", "guest", "bot"):
        assert f'"user_id":"@{name}:greenroom.test"' in done.stdout
    told = json.loads((folder / "told.json").read_text())
    given = dict(line.split("=", 1) for line in (folder / "told.env").read_text().splitlines() if "=" in line)
    alice = next(one for one in told["people"] if one["user_id"] == "@alice:greenroom.test")
    assert alice["password"] == given["GREENROOM_ALICE_PASSWORD"]
    assert alice["access_token"] == given["GREENROOM_ALICE_ACCESS_TOKEN"]
    assert told["homeserver"]["url"] == given["MATRIX_HOMESERVER"]
    assert told["seed"] == "qa"
    assert all(room_id.startswith("!") for room_id in told["rooms"].values())
    assert told["rooms"]
    assert "MATRIX_OLD" not in given
    kept = "".join(file.read_text() for file in folder.glob(".greenroom/failures/*/*/*"))
    assert kept
    assert not [secret for secret in (alice["password"], alice["access_token"]) if secret in kept]


def test_sigterm_is_passed_on_and_the_command_decides(folder):
    """The command ends as it likes, and then the homeserver and what the command left behind are stopped."""
    script = "trap 'exit 5' TERM; sleep 600 & touch begun; wait"
    process = subprocess.Popen([*RUN, "--", "sh", "-c", script], stderr=subprocess.PIPE)
    until((folder / "begun").exists, "the command to begin")

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 5
    process.stderr.close()


def test_ctrl_c_in_a_terminal_reaches_the_command_once(folder):
    """The terminal sends it to both; it is not sent again. `greenroom run` waits for the command's own end."""
    script = "import signal, time, pathlib\n" + (
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "pathlib.Path('begun').touch()\n"
        "while not got: time.sleep(0.01)\n"
        "signal.sigtimedwait([signal.SIGUSR1], 0.5)\n"
        "raise SystemExit(10 + len(got))\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*RUN, "--", sys.executable, "-c", script])
    until((folder / "begun").exists, "the command to begin")

    os.write(terminal, b"\x03")

    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 11


def test_nothing_is_left_after_the_wrapper_was_killed(folder):
    """The homeserver and the command die with it; the next run ends what the command had started."""
    process = subprocess.Popen([*RUN, "--", "sh", "-c", "sleep 600 & touch begun; wait"], stderr=subprocess.DEVNULL)
    until((folder / "begun").exists, "the command to begin")

    process.kill()
    process.wait(10)

    until(lambda: len(living(folder)) <= 1, "the homeserver and the command to end")
    assert run("--person", "alice", "--", "true").returncode == 0
