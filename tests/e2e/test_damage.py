"""What `dev` and its sisters say of damaged, deleted and foreign files: one line with a cure, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from greenroom.errors import StartFailed
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.choose import choose, make_homeserver
from greenroom.processes.procfs import started_at


def homeservers(project) -> list[int]:
    return [pid for pid in project.marked() if b"synapse.app.homeserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_second_homeserver_on_one_database_is_refused(tmp_path):
    """The second names the folder and starts nothing; after the first has been killed the folder is free."""
    choice = choose("synapse", "process")
    first = await make_homeserver(choice, tmp_path, HomeserverSettings()).start()
    try:
        with pytest.raises(StartFailed, match=f"another one runs on the data in {re.escape(str(tmp_path))}"):
            await make_homeserver(choice, tmp_path, HomeserverSettings()).start()
        first.check_alive()
        await first.kill()
        await first.start_again()
    finally:
        await first.close()


@pytest.mark.parametrize("manifest", [None, "garbage", '{"version": 1}'], ids=["deleted", "garbage", "empty"])
def test_processes_stay_visible_when_the_manifest_is_damaged(project, manifest):
    """`status`, `stop`, `dev` and `down` still know what runs, so that no second homeserver starts."""
    project.detached()
    path = project.folder / ".greenroom/run.json"

    def damage():
        path.unlink(missing_ok=True) if manifest is None else path.write_text(manifest)

    damage()
    before = project.state()
    assert f"running for 0 s, pid {before['bot']['pid']}" in re.sub(
        r"for \d+ s", "for 0 s", project.run("status").stdout
    )
    assert project.run("restart", "bot").returncode == 0
    damage()

    assert "a dev environment runs in" in project.detached().stderr
    assert "stopped homeserver" in project.run("down").stdout
    assert project.marked() == []


def test_without_any_file_the_next_dev_still_finds_what_runs(project):
    """run.json and dev.json are gone: `dev` ends the processes of before, and one homeserver runs."""
    project.detached()
    before = project.state()
    for name in ("run.json", "dev.json"):
        (project.folder / ".greenroom" / name).unlink()

    again = project.detached()

    assert again.returncode == 0, again.stderr
    assert "ended what was left of an earlier dev environment" in again.stdout
    assert not started_at(before["homeserver"]["pid"])
    assert homeservers(project) == [project.state()["homeserver"]["pid"]]


@pytest.mark.parametrize(
    ("damage", "text"),
    [("secrets.json", "{"), ("secrets.json", None), ("homeserver.db", None)],
    ids=["damaged secrets", "deleted secrets", "deleted database"],
)
def test_what_the_homeserver_needs_names_a_fresh_start(project, damage, text):
    """Damaged or deleted secrets, a deleted database: one line, exit 1, nothing changed, `--fresh` is the cure."""
    project.detached()
    project.run("down")
    path = project.folder / ".greenroom/homeserver" / damage
    path.unlink()
    if text is not None:
        path.write_text(text)

    refused = project.detached()

    assert refused.returncode == 1
    assert re.search(r"start over: .*greenroom dev --fresh\n$", refused.stderr)
    assert refused.stderr.count("\n") == 1
    assert project.marked() == []
    fresh = project.detached("--fresh")
    assert fresh.returncode == 0, fresh.stderr


def test_a_damaged_database_names_a_fresh_start(project):
    """Synapse's traceback is the reason; the cure is the last line."""
    project.detached()
    project.run("down")
    (project.folder / ".greenroom/homeserver/homeserver.db").write_bytes(b"garbage " * 512)

    refused = project.detached()

    assert refused.returncode == 1
    assert re.search(r"try: its data is damaged; to start over: .*greenroom dev --fresh\n$", refused.stderr)


def test_a_port_that_is_taken_meanwhile_has_a_cure_for_start(project):
    """`start` has no --port, so the message does not name it."""
    project.detached()
    project.run("stop")
    port = int(project.state()["homeserver"]["url"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        refused = project.run("start")

    assert refused.returncode == 1
    assert re.search(rf"port {port} is taken .*greenroom down, then .*greenroom dev\n$", refused.stderr)


def test_a_restart_makes_no_new_database(project):
    """Nobody could log in to it. The message names the cure, and the cure works."""
    project.detached()
    (project.folder / ".greenroom/homeserver/homeserver.db").unlink()

    refused = project.run("restart", "homeserver")

    assert refused.returncode == 1
    assert re.search(r"homeserver.db is gone.*start over: .*greenroom dev --fresh\n$", refused.stderr)
    assert homeservers(project) == []
    fresh = project.detached("--fresh")
    assert fresh.returncode == 0, fresh.stderr


@pytest.mark.parametrize("text", ["", "garbage", '{"version": 1}'])
def test_a_damaged_dev_json_is_one_line_everywhere(project, text):
    """Every command that reads it fails with a cure; `down` works."""
    project.detached()
    (project.folder / ".greenroom/dev.json").write_text(text)

    for arguments in (["status"], ["seed"], ["start"], ["restart", "bot"]):
        answer = project.run(*arguments)
        assert answer.returncode in (1, 3)
        assert re.fullmatch(r"greenroom: \S+dev.json is damaged .*; try: .*down, then .*dev\n", answer.stderr)
    assert "stopped bot" in project.run("down").stdout
    assert project.marked() == []


def test_a_closed_pipe_is_no_error_message(project):
    """`status | head` prints what head takes."""
    project.detached()
    command = " ".join(project.command("status"))

    piped = subprocess.run(
        ["bash", "-c", f"{command} | head -c 10"], cwd=project.folder, capture_output=True, text=True, check=False
    )

    assert (piped.stdout, piped.stderr) == ("homeserver", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is of Linux")
def test_a_full_disk_is_one_line(project):
    """The message names the cure."""
    with open("/dev/full", "w") as full:
        answer = subprocess.run(
            project.command("doctor"), cwd=project.folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert answer.returncode == 1
    assert answer.stderr == "greenroom: No space left on device. Try: free some space on that disk\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(project):
    """It could be watched or changed by its owner."""
    (project.folder / ".greenroom").mkdir()
    shutil.chown(project.folder / ".greenroom", 12345)

    refused = project.detached()

    assert refused.returncode == 2
    assert refused.stderr == f"greenroom: {project.folder / '.greenroom'} is not a folder that belongs to you\n"


@pytest.mark.parametrize("delay_s", [0.15, 0.3, 0.6])
def test_ctrl_c_at_once_is_a_word_and_no_traceback(project, delay_s):
    """Also before the task has begun. While Python itself starts it answers in its own way, except below `tasks.py`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as `tasks.py` does
    child = project.launched()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(delay_s)

    child.send_signal(signal.SIGINT)

    assert child.wait(20) == 130
    assert project.output().splitlines()[-1] in (
        "greenroom: interrupted",
        "stopped while starting; nothing is left running",
    )
    assert "Traceback" not in project.output()
    assert project.marked() == []
