"""`snapshot` and `restore` as a person uses them: everything is put back to before it was broken."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from greenroom.people.matrix_api import MatrixApi, path
from greenroom.processes.procfs import started_at
from tests.e2e.container_engine import nothing_stays, require_engine
from tests.e2e.dev_project import Project

SAID = "!new Kept for later"


@pytest.fixture(params=["process", pytest.param("container", marks=pytest.mark.container)])
def environment(request, project) -> Iterator[Project]:
    """A detached dev environment with the reference bot, on each backend."""
    engine, _ = require_engine() if request.param == "container" else (None, None)
    started = project.run("dev", "--backend", request.param, "--detach")
    assert started.returncode == 0, started.stderr
    if engine is None:
        yield project
        return
    try:
        with nothing_stays(engine, project.folder.resolve()):
            yield project
            project.run("down")
    finally:
        engine.close()


async def rooms_of(project: Project, name: str) -> dict[str, str]:
    """Return the rooms that an account is in, and their names."""
    async with MatrixApi(project.state()["homeserver"]["url"]) as api:
        token = await api.log_in(name, project.password(name), "LOOK")
        return {room: await _name(api, room, token) for room in await _joined(api, token)}


async def _joined(api: MatrixApi, token: str) -> list[str]:
    answer = await api.call("GET", path("joined_rooms"), token=token)
    return list(answer["joined_rooms"])


async def _name(api: MatrixApi, room: str, token: str) -> str:
    state = await api.call("GET", path("rooms", room, "state"), token=token)
    return next((event["content"]["name"] for event in state if event["type"] == "m.room.name"), "")


async def new_chat(project: Project) -> None:
    """Let alice ask the bot for one more chat, and wait until she is invited."""
    async with MatrixApi(project.state()["homeserver"]["url"]) as api:
        token = await api.log_in("alice", project.password("alice"), "PHONE")
        named = {await _name(api, room, token): room for room in await _joined(api, token)}
        say = path("rooms", named["First chat"], "send", "m.room.message", "one")
        await api.call("PUT", say, token=token, json={"msgtype": "m.text", "body": SAID})
    deadline = time.monotonic() + 60
    while "Kept for later" not in (await rooms_of(project, "bot")).values():
        assert time.monotonic() < deadline, "the bot made no chat"


def drift(project: Project) -> tuple[str, dict]:
    document = json.loads(project.run("status", "--json").stdout)
    return document["verdict"], document["drift"]["outcomes"]


async def test_everything_is_as_it_was_before_it_was_broken(environment):
    """The bot's rooms, its records, who can log in and where: also what was made after the seeding."""
    await new_chat(environment)
    rooms, step, before = await rooms_of(environment, "bot"), drift(environment), environment.state()
    assert step[0] == "in step"
    kept = environment.run("snapshot", "before")
    assert kept.returncode == 0, kept.stderr
    assert re.fullmatch(
        r"bot: stopped\nhomeserver: stopped\nsnapshot: before kept, [\d.]+ MB\n"
        r"homeserver: running again after .*\nbot: running again after .*\n",
        kept.stdout,
    )
    environment.run("stop", "bot")
    assert environment.run("reset", "--server", "--local", "--yes").returncode == 0
    environment.run("start", "bot")
    assert await rooms_of(environment, "bot") == {}
    assert drift(environment) != step

    restored = environment.run("restore", "before")

    assert restored.returncode == 0, restored.stderr
    assert re.search(r"^snapshot: before restored, as of \d{4}-\d\d-\d\d ", restored.stdout, re.MULTILINE)
    assert await rooms_of(environment, "bot") == rooms
    assert drift(environment) == step
    after = environment.state()
    assert (after["people"], after["homeserver"]["url"]) == (before["people"], before["homeserver"]["url"])


async def test_secrets_and_passwords_come_back_too(project):
    """A snapshot outlives a project state that was deleted: the new state had other passwords and another port."""
    project.run("dev", "--backend", "process", "--detach")
    before, env = project.state(), (project.folder / ".greenroom/dev.env").read_text()
    project.run("down")
    assert re.fullmatch(r"snapshot: before kept, .* MB\n", project.run("snapshot", "before").stdout)
    (project.folder / ".greenroom/snapshots").rename(project.folder / "elsewhere")
    shutil.rmtree(project.folder / ".greenroom")
    project.run("dev", "--backend", "process", "--detach", "--seed", "large", "--set", "rooms=1")
    assert project.state()["people"] != before["people"]
    (project.folder / "elsewhere").rename(project.folder / ".greenroom/snapshots")

    restored = project.run("restore", "before")

    assert restored.returncode == 0, restored.stderr
    after = project.state()
    assert (after["people"], after["homeserver"]["url"]) == (before["people"], before["homeserver"]["url"])
    assert after["seed"] == "qa"
    assert (project.folder / ".greenroom/dev.env").read_text() == env
    assert drift(project)[0] == "in step"
    listed = project.run("snapshot", "--list").stdout
    assert re.fullmatch(r"before  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d +[\d.]+ MB  qa\n", listed)


def test_a_dev_in_the_foreground_does_it_and_stays(project):
    """A bot that was stopped stays stopped; what was running belongs to the same `dev` as before."""
    dev = project.dev()
    project.run("stop", "bot")

    kept = project.run("snapshot", "before")
    taken = project.run("snapshot", "before")
    project.run("start", "bot")
    restored = project.run("restore", "before")

    assert (kept.returncode, restored.returncode, taken.returncode) == (0, 0, 2), kept.stderr + restored.stderr
    assert "bot:" not in kept.stdout
    assert re.search(r"bot: stopped\nhomeserver: stopped\nsnapshot: before restored", project.output())
    assert all(started_at(project.state()[part]["pid"]) for part in ("bot", "homeserver"))
    dev.send_signal(signal.SIGINT)
    assert dev.wait(20) == 0
    assert project.marked() == []


@pytest.mark.parametrize("action", ["snapshot", "restore"])
def test_a_command_that_is_killed_between_two_states_harms_nothing(project, action):
    """Its parts are stopped then; `start` goes on with the old state or the new one, and a later restore succeeds."""
    project.run("dev", "--backend", "process", "--detach")
    project.run("snapshot", "before")
    for line in ("bot: stopped", "homeserver: stopped", "homeserver: running"):
        command = project.command(action, "before", *(["--force"] if action == "snapshot" else []))
        with subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, text=True) as killed:
            assert any(said.startswith(line) for said in killed.stdout)
            killed.kill()

        started = project.run("start")

        assert started.returncode == 0, started.stderr
        assert drift(project)[0] == "in step"
    assert project.run("restore", "before").returncode == 0
    assert drift(project)[0] == "in step"


def test_an_interrupted_restore_is_finished_by_dev(project):
    """The next `dev` says so, and starts what was restored."""
    project.run("dev", "--backend", "process", "--detach")
    project.run("down")
    project.run("snapshot", "before")
    root = project.folder / ".greenroom"
    (root / "restoring/new").mkdir(parents=True)
    for name in ("homeserver", "bot"):
        (root / "snapshots/before/files" / name).rename(root / "restoring/new" / name)
    (root / "bot").rename(root / "lost")

    up = project.run("dev", "--backend", "process", "--detach")

    assert up.returncode == 0, up.stderr
    assert "finished a restore that was interrupted" in up.stdout
    assert drift(project)[0] == "in step"
    assert not (root / "restoring").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["snapshot"], "one of a NAME, --list and --prune is needed"),
        (["snapshot", "../x"], "a snapshot's name has letters, digits, '.', '_' and '-', at most 64, not '../x'"),
        (["snapshot", "x", "--list"], "one of a NAME, --list and --prune is needed"),
        (["restore"], "which snapshot?"),
        (["restore", "x"], "no such snapshot: 'x'; there are none; try: "),
        (["snapshot", "x"], "there is no dev state in "),
    ],
)
def test_bad_input_is_one_clear_line(project, arguments, line):
    """Nothing is made."""
    answer = project.run(*arguments)

    assert answer.returncode == (1 if arguments == ["snapshot", "x"] else 2)
    assert line in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (project.folder / ".greenroom").exists()
