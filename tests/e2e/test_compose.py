"""The long-lived stack: brought up by one command, it answers through the bot, and goes without a trace."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from greenroom.checks import message
from greenroom.commands.compose.files import BOT_USER, Stack
from greenroom.commands.compose.stack import compose_command, find_images, project_name
from greenroom.errors import Unavailable
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Registration
from greenroom.homeserver.settings import free_port
from greenroom.homeserver.synapse import SYNAPSE
from greenroom.people.accounts import register
from greenroom.people.person import person_on
from tests.e2e.container_engine import nothing_stays, require_engine

pytestmark = pytest.mark.container


@pytest.fixture
def engine(tmp_path):
    """An engine with the images of the stack, a compose command, and nothing of ours in it afterwards."""
    engine, _ = require_engine()
    try:
        compose_command()
        find_images(engine, [])
    except Unavailable as lacking:
        engine.close()
        pytest.skip(str(lacking))
    with nothing_stays(engine, tmp_path.resolve()):
        yield engine
    engine.close()


@pytest.fixture
def project(tmp_path, engine):
    """A project folder; its stack is taken down with the test."""
    (tmp_path / "pyproject.toml").touch()
    yield tmp_path
    compose(tmp_path, "down", "--volumes")


def compose(folder, *args: str) -> subprocess.CompletedProcess[str]:
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
    """Homeserver, database and bot together: a person who invites the bot is greeted."""
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
        await alice.until(message(sender=BOT_USER, room=direct, containing="Hello!"), timeout_s=30)

    database = stack.homeserver / "homeserver.db"
    assert database.exists() == (profile == "sqlite")


def test_the_bots_container_is_healthy_when_the_bot_is_live(project, engine):
    """Its health is the bot's own word, renewed by each sync."""
    assert compose(project, "up", "--port", str(free_port())).returncode == 0

    assert health(engine, project, "bot") == "healthy"


def test_down_keeps_the_data_unless_told_otherwise(project, engine):
    """`down` alone can be followed by `up`; with --volumes nothing stays."""
    assert compose(project, "up", "--port", str(free_port())).returncode == 0

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
    except Unavailable as lacking:
        pytest.skip(str(lacking))


def health(engine, project, service: str, timeout_s: float = 30) -> str:
    """Wait until Docker has judged the health of a service."""
    labels = [f"com.docker.compose.project={project_name(project)}", f"com.docker.compose.service={service}"]
    deadline = time.monotonic() + timeout_s
    while True:
        (container,) = engine.client.containers.list(filters={"label": labels})
        status = container.attrs["State"]["Health"]["Status"]
        if status != "starting" or time.monotonic() > deadline:
            return str(status)
        time.sleep(0.2)
