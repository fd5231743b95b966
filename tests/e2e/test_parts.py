"""`status`, `start`, `stop` and `restart` on a real homeserver, detached and in the foreground."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from greenroom.processes.procfs import started_at
from tests.e2e.dev_project import Project, listens
from tests.e2e.least_bots import LIVE_BOT

SILENT_BOT = "import time\nprint('I am here', flush=True)\ntime.sleep(600)\n"
LOGIN_BOT = """
import json, os, time, urllib.request
body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": os.environ["MATRIX_USER_ID"]},
        "password": os.environ["MATRIX_PASSWORD"], "device_id": "MINE"}
url = os.environ["MATRIX_HOMESERVER"] + "/_matrix/client/v3/"
request = urllib.request.Request(url + "login", json.dumps(body).encode())
token = json.load(urllib.request.urlopen(request))["access_token"]
ask = urllib.request.Request(url + "account/whoami", headers={"Authorization": "Bearer " + token})
while True:
    urllib.request.urlopen(ask).close()
    time.sleep(0.2)
"""


def pid_of(project: Project, part: str) -> int | None:
    return project.state()[part]["pid"]


def test_status_says_what_runs_where_since_when_and_who_can_log_in(project):
    """Detached: the URL, people, passwords, pids, uptime and seed; a bot that is not ours has no drift to report."""
    project.detached()
    state = project.state()

    status = project.run("status")

    assert status.returncode == 0, status.stderr
    for fact in (state["homeserver"]["url"], "@alice:greenroom.test", project.password("alice")):
        assert fact in status.stdout
    assert re.search(rf"^homeserver   running for \d+ s, pid {pid_of(project, 'homeserver')}$", status.stdout, re.M)
    assert re.search(rf"^bot          .*; running for \d+ s, pid {pid_of(project, 'bot')}$", status.stdout, re.M)
    assert "\nseed         qa\n" in status.stdout
    document = json.loads(project.run("status", "--json").stdout)
    assert document["running"]
    assert [document[part]["runs"] for part in ("homeserver", "bot")] == [True, True]
    assert (document["people"], document["verdict"]) == (state["people"], "runs; not compared")


def test_a_killed_bot_is_never_in_step(project):
    """Exit 1, also with --json, the way to start it again, and no pid of a process that is gone."""
    project.detached()
    os.kill(pid_of(project, "bot"), signal.SIGKILL)

    status, document = project.run("status"), project.run("status", "--json")

    assert (status.returncode, document.returncode) == (1, 1)
    assert "in step" not in status.stdout
    assert re.search(r"^bot          not running$", status.stdout, re.M)
    assert re.search(r"the bot does not run; try: .*greenroom start bot\n", status.stderr)
    assert re.search(r"^bot          @bot:greenroom.test  \(.*, stopped\)$", status.stdout, re.M)
    found = json.loads(document.stdout)
    assert (found["verdict"], found["bot"]["pid"], found["bot"]["runs"]) == ("bot does not run", None, False)


def test_a_document_is_printed_where_nothing_runs(project):
    """`status --json` without an environment, and with a stopped homeserver: a document, and exit code 3."""
    never = project.run("status", "--json")
    project.detached()
    project.run("stop")
    stopped = project.run("status", "--json")

    assert (never.returncode, stopped.returncode) == (3, 3)
    assert json.loads(never.stdout)["running"] is False
    assert "no dev environment runs in" in json.loads(never.stdout)["problem"]
    assert json.loads(stopped.stdout)["people"]
    assert "the homeserver is stopped" in json.loads(stopped.stdout)["problem"]


@pytest.mark.parametrize(
    ("bot", "said"),
    [(SILENT_BOT, "not logged in as @bot:greenroom.test"), (LOGIN_BOT, "live")],
    ids=["never logs in", "logs in"],
)
def test_a_bot_is_live_when_the_homeserver_has_seen_it(project, bot, said):
    """A bot that never logged in is not called live, neither by `dev` nor by `status`."""
    (project.folder / "my_bot.py").write_text(bot)

    up = project.detached()
    status = project.run("status")

    assert f"\nbot: {said}, pid {pid_of(project, 'bot')}\n" in up.stdout
    assert re.search(rf"^bot          {said}; running for ", status.stdout, re.M)


def test_seeding_stops_a_bot_whose_account_it_uses(project):
    """A running bot would decline the invites of `drift` itself. One that was stopped before stays stopped."""
    project.run("dev", "--backend", "process", "--detach")

    seeded = project.run("seed", "drift")
    nothing = project.run("seed", "qa")
    project.run("stop", "bot")
    again = project.run("seed", "large", "--set", "rooms=1")

    assert seeded.returncode == 0, seeded.stderr
    assert re.match(r"bot: stopped\n(seed: .*\n)*seed: drift, \d+ steps, .*\nbot: running again", seeded.stdout)
    assert nothing.stdout == "nothing to do: everything is there\n"
    assert re.search(r"^seed: large, \d+ steps", again.stdout, re.M)
    assert pid_of(project, "bot") is None


def test_parts_of_a_detached_environment_stop_and_start_one_at_a_time(project):
    """The bot alone, the homeserver alone, and both; the URL, the data and dev.json stay right after each step."""
    project.detached()
    before = project.state()

    assert project.run("stop", "bot").stdout == "bot: stopped\n"
    assert pid_of(project, "bot") is None
    assert not started_at(before["bot"]["pid"])
    assert started_at(before["homeserver"]["pid"])
    assert project.run("stop", "bot").stdout == "bot: not running\n"
    assert project.run("stop").stdout == "bot: not running\nhomeserver: stopped\n"
    assert not listens(before["homeserver"]["url"])
    early = project.run("start", "bot")
    assert early.returncode == 1
    assert re.search(r"the bot needs the homeserver, which is stopped; try: .*start homeserver\n", early.stderr)

    started = project.run("start")

    assert re.fullmatch(
        r"homeserver: running again after [\d.]+ s, pid \d+\nbot: running again after [\d.]+ s, pid \d+\n",
        started.stdout,
    )
    after = project.state()
    assert after["homeserver"]["url"] == before["homeserver"]["url"]
    assert started_at(after["bot"]["pid"])
    assert started_at(after["homeserver"]["pid"])
    assert project.run("start", "bot").stdout == f"bot: runs already, pid {after['bot']['pid']}\n"
    assert project.run("seed").stdout == "nothing to do: everything is there\n"
    assert project.run("restart", "bot").returncode == 0
    assert pid_of(project, "homeserver") == after["homeserver"]["pid"]
    assert pid_of(project, "bot") != after["bot"]["pid"]
    project.run("down")
    assert project.marked() == []


def test_a_dev_in_the_foreground_does_what_is_asked_of_it(project):
    """The same commands reach a foreground `dev`: it keeps running without its parts, and owns the new ones."""
    dev = project.dev()
    running = [pid_of(project, part) for part in ("bot", "homeserver")]

    assert project.run("stop").stdout == "bot: stopped\nhomeserver: stopped\n"
    assert [pid for pid in running if started_at(pid)] == []
    assert dev.poll() is None
    (project.folder / "my_bot.py").write_text("raise SystemExit('broken')")
    broken = project.run("start")
    assert broken.returncode == 1
    assert broken.stdout.startswith("homeserver: running again")
    assert "the bot did not start: ended with exit code 1" in broken.stderr
    (project.folder / "my_bot.py").write_text(SILENT_BOT)
    assert project.run("start").returncode == 0
    assert started_at(pid_of(project, "bot"))

    dev.send_signal(signal.SIGINT)

    assert dev.wait(20) == 0
    assert project.marked() == []


def test_dev_json_has_the_pid_of_a_bot_that_watch_has_restarted(project):
    """After a source change dev.json names the new process."""
    dev = project.dev("--watch")
    first = pid_of(project, "bot")

    (project.folder / "my_bot.py").write_text(SILENT_BOT)

    project.until(lambda: pid_of(project, "bot") not in (None, first))
    assert started_at(pid_of(project, "bot"))
    dev.send_signal(signal.SIGINT)
    assert dev.wait(20) == 0


def test_a_bot_started_by_hand_is_not_restarted_for_a_change_before_that(project):
    """A change while the bot was stopped is in it when it starts; a later one restarts it."""
    dev = project.dev("--watch")
    project.run("stop", "bot")

    for version, start in ((2, True), (3, False)):
        (project.folder / "draft").write_text(LIVE_BOT.replace('"version": 1', f'"version": {version}'))
        (project.folder / "draft").replace(project.folder / "my_bot.py")
        if start:
            assert project.run("start", "bot").stdout.startswith("bot: running again")
        project.until(lambda shown=f"version={version}": shown in project.output())

    assert project.output().count("my_bot.py changed: restarting the bot") == 1
    dev.send_signal(signal.SIGINT)
    assert dev.wait(20) == 0


@pytest.mark.parametrize("part", ["homeserver", "bot"])
def test_the_reason_of_a_death_is_the_last_thing_on_the_screen(project, part):
    """Nothing of a log follows it."""
    dev = project.dev()

    os.kill(pid_of(project, part), signal.SIGKILL)

    assert dev.wait(20) == 1
    *_, reason, log = project.output().splitlines()
    assert reason == f"{part} died: ended with signal SIGKILL"
    assert log == f"  full log: {project.folder / f'.greenroom/logs/{part}.log'}"


def test_an_unknown_part_is_one_line(project):
    """Exit code 2."""
    answer = project.run("stop", "kitchen")

    assert (answer.returncode, answer.stderr) == (
        2,
        "greenroom: no such part: 'kitchen'; there are homeserver and bot\n",
    )
