"""`dev` and `down` as a person uses them: commands in a project folder, a real homeserver and a minimal bot."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from greenroom.homeserver.external import ExternalHomeserver
from greenroom.people.matrix_api import MatrixApi
from greenroom.processes.procfs import started_at
from tests.e2e.dev_project import listens
from tests.e2e.least_bots import LIVE_BOT

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


async def test_detached_dev_runs_on_and_down_leaves_no_process_and_no_port(project):
    """`dev --detach` exits with 0 when everything is live, the seeded password works, and `down` ends every process."""
    up = project.detached()
    assert up.returncode == 0, up.stderr
    state = project.state()
    assert started_at(state["bot"]["pid"])
    assert started_at(state["homeserver"]["pid"])
    async with MatrixApi(state["homeserver"]["url"]) as api:
        assert await api.log_in("alice", project.password("alice"), "PHONE")

    down = project.run("down")

    assert down.returncode == 0
    assert project.marked() == []
    assert not listens(state["homeserver"]["url"])
    assert not (project.folder / ".greenroom/dev.json").exists()
    assert "nothing is running" in project.run("down").stdout


def test_dev_json_and_dev_env_say_where_everything_is(project):
    """Both files have the promised keys and are private, and a POSIX shell can source dev.env."""
    project.detached()
    state = project.state()

    assert state["version"] == 1
    assert set(state["homeserver"]) == {"url", "server_name", "kind", "backend", "log", "pid", "since"}
    assert set(state["bot"]) == {"user_id", "pid", "log", "command", "since"}
    assert state["people"][0] == {"user_id": "@alice:greenroom.test", "password": project.password("alice")}
    assert (project.folder / ".greenroom").stat().st_mode & 0o777 == 0o700
    assert Path(state["env_file"]).stat().st_mode & 0o777 == 0o600
    shell = f"set -a; . {state['env_file']}; exec env"
    sourced = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert f"MATRIX_HOMESERVER={state['homeserver']['url']}\n" in sourced
    assert f"MATRIX_PASSWORD={project.password('bot')}\n" in sourced


async def test_a_fresh_start_keeps_the_url_and_the_passwords(project):
    """After `dev --fresh` what a Matrix client knows still logs in, although the homeserver is empty and new."""
    project.detached()
    before = project.state()
    async with MatrixApi(before["homeserver"]["url"]) as api:
        await api.log_in("carol", project.password("carol"), "PHONE")
    project.run("down")

    fresh = project.detached("--fresh")

    assert "seed: qa, " in fresh.stdout
    after = project.state()
    assert (after["homeserver"]["url"], after["people"]) == (before["homeserver"]["url"], before["people"])
    async with MatrixApi(after["homeserver"]["url"]) as api:
        token = await api.log_in("carol", project.password("carol"), "TABLET")
        devices = await api.call("GET", "/_matrix/client/v3/devices", token=token)
    assert [device["device_id"] for device in devices["devices"]] == ["TABLET"]


async def test_dev_says_which_passwords_are_fixed_in_the_blueprint(project):
    """A password of the blueprint works, with a warning; a bot that the blueprint lacks has a derived one."""
    (project.folder / "few.yaml").write_text("{version: 1, name: few, people: [{name: erin, password: said}]}")

    up = project.detached("--seed", "./few.yaml")

    assert "\nerin's password is fixed in the blueprint: anybody who reads that file can log in\n" in up.stdout
    assert project.password("erin") == "said"
    async with MatrixApi(project.state()["homeserver"]["url"]) as api:
        assert await api.log_in("erin", "said", "PHONE")
        assert await api.log_in("bot", project.password("bot"), "PHONE")


def test_ctrl_c_stops_everything_and_the_output_is_plain_without_a_terminal(project):
    """Both logs are shown with a prefix and without control characters; SIGINT ends everything with exit code 0."""
    dev = project.dev("--homeserver-log")
    url = project.state()["homeserver"]["url"]
    project.until(lambda: "bot        | matrix_live" in project.output())
    urllib.request.urlopen(f"{url}/_matrix/client/versions").close()
    project.until(lambda: "GET /_matrix/client/versions" in project.output())

    dev.send_signal(signal.SIGINT)

    assert dev.wait(20) == 0
    assert project.marked() == []
    assert not listens(url)
    assert re.search(r"^homeserver \| .*GET /_matrix/client/versions", project.output(), re.MULTILINE)
    assert CONTROL.search(project.output()) is None


def test_of_the_homeserver_a_normal_run_shows_nothing_and_trouble_is_shown(project):
    """Neither start, seeding, requests nor the end print a line of the homeserver's log; a warning is printed."""
    dev = project.dev()
    url = project.state()["homeserver"]["url"]
    urllib.request.urlopen(f"{url}/_matrix/client/versions").close()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{url}/_matrix/client/v3/login", data=b"{").close()
    project.until(lambda: "homeserver |" in project.output())

    dev.send_signal(signal.SIGINT)

    assert dev.wait(20) == 0
    log = (project.folder / ".greenroom/logs/homeserver.log").read_text()
    assert "GET /_matrix/client/versions" in log
    (shown,) = [line for line in project.output().splitlines() if line.startswith("homeserver |")]
    assert re.match(r"homeserver \| \d\d:\d\d:\d\d warning synapse\.http\S* POST-\d+ Unable to parse JSON", shown)


def test_a_second_ctrl_c_does_not_interrupt_the_stopping(project):
    """Impatience changes neither the words nor the exit code, and nothing is left."""
    (project.folder / "my_bot.py").write_text(LIVE_BOT + "import time\ntime.sleep(1)\n")
    dev = project.dev()

    dev.send_signal(signal.SIGINT)
    project.until(lambda: project.output().endswith("stopping\n"))
    dev.send_signal(signal.SIGINT)

    assert dev.wait(20) == 0
    assert project.output().splitlines()[-1].startswith("stopped; data kept in ")
    assert project.marked() == []


def test_a_killed_dev_takes_its_processes_with_it_and_the_next_one_starts(project):
    """After `kill -9` of dev its processes end, and the next dev has the same homeserver at the same URL."""
    dev = project.dev()
    pids, url = project.pids(), project.state()["homeserver"]["url"]

    dev.kill()
    dev.wait()

    project.until(lambda: not any(started_at(pid) for pid in pids), timeout_s=5)
    again = project.dev()
    assert project.state()["homeserver"]["url"] == url
    assert "seed: qa is there already" in project.output()
    again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0
    assert project.marked() == []


def test_down_after_a_killed_dev_tidies_up(project):
    """`down` ends a homeserver whose bot was killed."""
    project.detached()
    os.kill(project.state()["bot"]["pid"], signal.SIGKILL)

    down = project.run("down")

    assert "stopped homeserver" in down.stdout
    assert project.marked() == []


def test_dev_replaces_a_half_dead_detached_environment(project):
    """A detached environment whose bot has ended does not count as running: `dev` cleans it up and starts again."""
    project.detached()
    os.kill(project.state()["bot"]["pid"], signal.SIGKILL)

    again = project.detached()

    assert again.returncode == 0, again.stderr
    assert "ended what was left of an earlier dev environment (pid" in again.stdout


def test_a_second_dev_in_the_same_folder_says_so(project):
    """The second exits with 2 and one line, whether the first is detached or not; the first continues."""
    dev = project.dev()
    second = project.detached()
    assert second.returncode == 2
    assert re.fullmatch(
        r"greenroom: a dev environment runs in \S+ already \(pid \d+\); "
        r"its URL and passwords: .*greenroom status; stop it: .*greenroom down\n",
        second.stderr,
    )
    assert dev.poll() is None

    assert "stopped dev (pid" in project.run("down").stdout

    assert dev.wait(20) == 0
    project.detached()
    third = project.detached()
    assert third.returncode == 2
    assert "already, at http://127.0.0.1:" in third.stderr


async def test_seed_is_idempotent_and_a_dry_run_changes_nothing(project):
    """`seed` after `dev` has nothing to do, and `--dry-run` prints a plan and changes nothing."""
    project.detached()
    (project.folder / "more.yaml").write_text(
        "version: 1\nname: more\npeople: [{name: erin}]\nrooms: [{key: den, creator: erin, name: Den}]\n"
    )

    assert project.run("seed").stdout == "nothing to do: everything is there\n"
    for _ in range(2):
        plan = project.run("seed", "./more.yaml", "--dry-run")
        assert plan.stdout == "register erin\ncreate room den as erin\n"
    applied = project.run("seed", "./more.yaml").stdout
    assert "2 steps" in applied
    assert f"person       @erin:greenroom.test  password {project.password('erin')}\n" in applied
    project.run("restart", "bot")  # writes dev.json anew
    assert project.state()["seed"] == "./more.yaml"
    async with MatrixApi(project.state()["homeserver"]["url"]) as api:
        assert await api.log_in("erin", project.password("erin"), "PHONE")
    assert project.run("seed", "./more.yaml").stdout == "nothing to do: everything is there\n"


FIRST = """
version: 1
name: mine
people: [{name: erin}, {name: frank}]
rooms: [{key: den, creator: erin, name: Den, members: [frank]}, {key: attic, creator: erin}]
"""
SECOND = "{version: 1, name: mine, people: [{name: erin}], rooms: [{key: den, creator: erin, name: Cave}]}"
NOT_UNDONE = """
not undone: frank stays: an account is never removed
not undone: frank stays in room den
not undone: room attic stays, with everybody in it
"""


def test_an_edited_blueprint_is_applied_again_and_what_stays_is_said(project, monkeypatch):
    """`dev` applies a blueprint once per version, and names the command, path included, that applies it again."""
    monkeypatch.setenv("GREENROOM_CACHE_SIZE_MB", "0")  # no snapshot of an earlier test run
    (project.folder / "mine.yaml").write_text(FIRST)
    assert "seed: mine, 5 steps" in project.detached("--seed", "mine.yaml").stdout
    project.run("down")
    again = project.detached("--seed", "mine.yaml").stdout
    assert re.search(r"seed: mine is there already \(apply it again: .* seed mine.yaml\)", again)
    project.run("down")

    (project.folder / "mine.yaml").write_text(SECOND)
    edited = project.detached("--seed", "mine.yaml").stdout

    assert NOT_UNDONE in edited
    assert "seed: mine has changed since it was applied; applying it again" in edited
    assert "seed: mine, 1 steps" in edited
    assert [person["user_id"] for person in project.state()["people"]] == [
        "@erin:greenroom.test",
        "@bot:greenroom.test",
    ]


def test_the_bot_restarts_when_its_source_changes(project):
    """With `--watch` a changed file restarts the bot on the same homeserver; a broken one waits for the next change."""
    dev = project.dev("--watch")
    server_pid = project.state()["homeserver"]["pid"]

    (project.folder / "my_bot.py").write_text("raise SystemExit('broken')")
    project.until(lambda: "the bot did not start" in project.output(), timeout_s=20)
    (project.folder / "my_bot.py").write_text(LIVE_BOT.replace('"version": 1', '"version": 2'))
    project.until(lambda: "version=2" in project.output(), timeout_s=20)

    assert started_at(server_pid)
    dev.send_signal(signal.SIGINT)
    assert dev.wait(20) == 0
    assert project.marked() == []


def test_dev_ends_with_its_reason_when_the_homeserver_dies(project):
    """If the homeserver is killed, dev prints its last lines, stops the bot and exits with 1."""
    dev = project.dev()

    os.kill(project.state()["homeserver"]["pid"], signal.SIGKILL)

    assert dev.wait(20) == 1
    assert "homeserver died: ended with signal SIGKILL" in project.output()
    assert project.marked() == []


def test_on_a_terminal_there_is_a_table(project):
    """On a terminal rich draws the overview as a table with the same facts."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        project.command("dev", "--backend", "process", "--bot", "python my_bot.py"),
        cwd=project.folder,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    try:
        while b"Ctrl-C stops everything" not in seen:
            seen += os.read(leader, 4096)
        password = project.password("alice")
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0
    finally:
        child.kill()
        os.close(leader)
    assert password in seen.decode()
    assert "─" in seen.decode()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["dev", "--homeserver", "cloud"], "no such homeserver: 'cloud'; there are synapse, conduit, tuwunel"),
        (["dev", "--backend", "cloud"], "no such backend: 'cloud'; there are auto, container, process"),
        (["dev", "--port", "http"], "--port must be a number from 1 to 65535, not 'http'"),
        (
            ["dev", "--seed", "nope"],
            "nope: no such blueprint; there are drift, large, qa, or name the path of a .yaml file",
        ),
        (["dev", "--seed", "large", "--set", "rooms"], "--set needs NAME=NUMBER, with a number from 0 to 10000, not"),
        (["dev", "--seed", "qa", "--set", "rooms=5"], "qa.yaml: has no variable 'rooms' to set; there are none"),
        (["dev", "--seed", "./nope.yaml"], "nope.yaml: cannot be read: No such file or directory"),
        (
            ["dev", "--bot", "./my_bot.py"],
            "./my_bot.py of --bot is not executable. Try: chmod +x, or name its interpreter",
        ),
        (["dev", "--bot", "no-such-bot --live"], "there is no program 'no-such-bot' for --bot"),
        (["dev", "--bot", ""], "the bot's command is empty"),
        (
            ["dev", "--watch", "--detach"],
            "--watch needs dev in the foreground. Try: leave --detach out",
        ),
        (["logs", "kitchen"], "no such log: 'kitchen'; there are homeserver and bot"),
        (["dev", "--frob"], "No idea what '--frob' is!"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(project, arguments, line):
    """Misuse starts nothing, prints no traceback and exits with 2."""
    answer = project.run(*arguments)

    assert answer.returncode == 2
    assert line in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (project.folder / ".greenroom/dev.json").exists()


def test_commands_that_need_a_running_environment_say_how_to_get_one(project):
    """Without a running environment they exit with 1 (`status`: 3, cannot tell) and one line that says what to try."""
    for arguments in (["seed"], ["status"], ["reset"], ["reset", "--server"], ["start"], ["stop"], ["restart"]):
        answer = project.run(*arguments)

        assert answer.returncode == (3 if arguments == ["status"] else 1)
        assert re.search(r"try: .*greenroom dev", answer.stderr)
        assert answer.stderr.count("\n") == 1


async def test_an_external_homeserver_is_used_and_never_stopped(homeserver):
    """Stopping it fails with a sentence, and it continues to run."""
    external = ExternalHomeserver(homeserver.url, homeserver.server_name)

    with pytest.raises(Exception, match="somebody else runs it"):
        await external.stop()
    await external.close()

    homeserver.check_alive()


@pytest.mark.parametrize("processes", [1, 2], ids=["dev alone", "a homeserver too"])
def test_ctrl_c_while_starting_leaves_nothing(project, processes):
    """SIGINT before everything is live ends dev with one line and leaves no process, with or without a homeserver."""
    child = project.launched()
    project.until(lambda: "homeserver: synapse on backend process" in project.output())
    project.until(lambda: len(project.marked()) >= processes)

    child.send_signal(signal.SIGINT)

    assert child.wait(20) == 130, project.output()
    assert project.output().endswith("\nstopped while starting; nothing is left running\n")
    assert "bot: live" not in project.output()
    assert project.marked() == []
