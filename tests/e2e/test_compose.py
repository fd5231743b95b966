"""The long-lived stack: one command starts it, its bot answers, and one command removes all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from greenroom import must
from greenroom.checks import message
from greenroom.commands.compose.files import BOT_USER, Stack
from greenroom.commands.compose.stack import compose_command, find_images, project_name
from greenroom.errors import Unavailable
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Registration
from greenroom.homeserver.settings import free_port
from greenroom.homeserver.synapse import SYNAPSE
from greenroom.people.accounts import register
from greenroom.people.matrix_api import MatrixApi
from greenroom.people.person import person_on
from greenroom.waiting import NotYet, until
from tests.e2e.container_engine import nothing_stays, require_engine

pytestmark = pytest.mark.container


@pytest.fixture
def engine(tmp_path):
    """An engine with the images of the stack and a compose command. At the end nothing of ours is left in it."""
    engine, _ = require_engine()
    try:
        compose_command()
        find_images(engine, [])
    except Unavailable as error:
        engine.close()
        pytest.skip(str(error))
    with nothing_stays(engine, tmp_path.resolve()):
        yield engine
    engine.close()


@pytest.fixture
def project(tmp_path, engine):
    """A project folder. Its stack is removed at the end."""
    (tmp_path / "pyproject.toml").touch()
    yield tmp_path
    compose(tmp_path, "down", "--volumes")


def compose(folder, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `greenroom compose` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "greenroom", "compose", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("profile", ["sqlite", "postgres"])
async def test_the_stack_answers_through_the_bot(project, engine, profile):
    """In the stack, with either database, the bot greets a person who invites it."""
    port = free_port()
    profiles = [] if profile == "sqlite" else ["--profile", profile]
    if profiles:
        _require_postgres(engine)
    up = compose(project, "up", "--port", str(port), *profiles)
    assert up.returncode == 0, up.stderr
    stack = Stack(project / ".greenroom" / "compose", port)
    secret = stack.secrets().registration_shared_secret
    registration = Registration(SYNAPSE.registration, secret)
    server = ExternalHomeserver(stack.url, "greenroom.test", registration=registration)

    async with person_on(server, await register(server, "alice")) as alice:
        direct = await alice.create_direct(BOT_USER)
        await must.see(alice, message(sender=BOT_USER, room=direct, containing="Hello!"), timeout_s=30)

    database = stack.homeserver / "homeserver.db"
    assert database.exists() == (profile == "sqlite")


async def test_a_seeded_stack_has_people_who_can_log_in(project, engine):
    """`up --seed qa` prints each person's password, which works. A second `up` and `status` print the same."""
    port = free_port()

    up = compose(project, "up", "--port", str(port), "--seed", "qa")
    again = compose(project, "up", "--port", str(port), "--seed", "qa")

    assert (up.returncode, again.returncode) == (0, 0), up.stderr + again.stderr
    people = people_in(up.stdout)
    assert [name for name, _ in people] == ["alice", "carol", "dave"]
    assert f"bot: live, {BOT_USER}" in up.stdout
    assert "seed: qa, 0 steps" in again.stdout
    assert people_in(again.stdout) == people
    assert people_in(compose(project, "status").stdout) == people
    async with MatrixApi(f"http://127.0.0.1:{port}") as api:
        for name, password in people:
            assert await api.log_in(name, password, "PHONE")


def test_parts_of_the_stack_are_stopped_and_started_and_status_tells(project, engine):
    """`stop`, `start` and `restart` act on one part or on all, and `status` says so by its text and its exit code."""
    up = compose(project, "up", "--port", str(free_port()))
    assert up.returncode == 0, up.stderr
    bot, homeserver = (container_of(engine, project, service) for service in ("bot", "homeserver"))
    since = homeserver.attrs["State"]["StartedAt"]
    assert states(compose(project, "status", "--json"), code=0) == {"homeserver": "running", "bot": "running"}

    stopped = compose(project, "stop", "bot")
    assert (stopped.returncode, stopped.stdout) == (0, "bot: stopped\n"), stopped.stderr
    assert states(compose(project, "status", "--json"), code=1) == {"homeserver": "running", "bot": "exited"}
    assert "compose start bot" in compose(project, "status").stdout

    started = compose(project, "start", "bot")
    assert (started.returncode, started.stdout) == (0, f"bot: live, {BOT_USER}\n"), started.stderr
    assert states(compose(project, "status", "--json"), code=0) == {"homeserver": "running", "bot": "running"}
    homeserver.reload()
    assert homeserver.attrs["State"]["StartedAt"] == since

    restarted = compose(project, "restart", "homeserver")
    assert restarted.returncode == 0, restarted.stderr
    homeserver.reload()
    assert homeserver.attrs["State"]["StartedAt"] > since

    assert compose(project, "stop").stdout == "bot: stopped\nhomeserver: stopped\n"
    assert states(compose(project, "status", "--json"), code=3) == {"homeserver": "exited", "bot": "exited"}
    bot.reload()
    assert bot.status == "exited"


def test_a_stack_whose_folder_is_gone_is_seen_and_can_be_removed(project, engine):
    """Without its files `status` still says that containers run, and `down --volumes` removes them."""
    up = compose(project, "up", "--port", str(free_port()))
    assert up.returncode == 0, up.stderr
    shutil.rmtree(project / ".greenroom")

    assert states(compose(project, "status", "--json"), code=0) == {"homeserver": "running", "bot": "running"}
    down = compose(project, "down", "--volumes")

    assert down.returncode == 0, down.stderr
    assert "2 containers" in down.stdout
    assert states(compose(project, "status", "--json"), code=3) == {}


async def test_the_bots_container_is_healthy_when_the_bot_is_live(project, engine):
    """The container of the bot becomes healthy once the bot is live."""
    up = compose(project, "up", "--port", str(free_port()))
    assert up.returncode == 0, up.stderr

    judged = await until(lambda: health(engine, project, "bot"), "Docker to judge the bot's health", timeout_s=30)

    assert judged == "healthy"


def test_down_keeps_the_data_unless_told_otherwise(project, engine):
    """`down` keeps the data of the stack; `down --volumes` removes it."""
    up = compose(project, "up", "--port", str(free_port()))
    assert up.returncode == 0, up.stderr

    kept = compose(project, "down")
    assert kept.returncode == 0, kept.stderr
    assert (project / ".greenroom/compose/homeserver/homeserver.db").exists()
    assert engine.client.volumes.list(filters={"name": project_name(project)})

    gone = compose(project, "down", "--volumes")
    assert gone.returncode == 0, gone.stderr
    assert not (project / ".greenroom/compose").exists()


def _require_postgres(engine) -> None:
    try:
        find_images(engine, ["postgres"])
    except Unavailable as error:
        pytest.skip(str(error))


def people_in(text: str) -> list[tuple[str, str]]:
    """Return each person that a command has printed, with the password."""
    return re.findall(r"^person +@(\S+):greenroom.test  password (\S+)$", text, re.MULTILINE)


def states(status: subprocess.CompletedProcess[str], *, code: int) -> dict[str, str]:
    """Return the state of each part that `status --json` has printed, after a check of its exit code."""
    assert status.returncode == code, status.stderr
    return {each["service"]: each["state"] for each in json.loads(status.stdout)["containers"]}


def container_of(engine, project, service: str):
    """Return the container of a service."""
    labels = [f"com.docker.compose.project={project_name(project)}", f"com.docker.compose.service={service}"]
    (container,) = engine.client.containers.list(filters={"label": labels})
    return container


def health(engine, project, service: str) -> str | NotYet:
    """Return how Docker has judged the health of a service, or NotYet while it has not."""
    status = str(container_of(engine, project, service).attrs["State"]["Health"]["Status"])
    return NotYet("it is starting") if status == "starting" else status
