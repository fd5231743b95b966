"""The compose stack has the harness's configuration, command and limits."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from greenroom.commands.compose.files import VARIABLES_FILE, Stack, stack_settings, variables, write_files
from greenroom.commands.compose.stack import compose_line, project_name, up
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.images.catalog import IMAGES
from greenroom.errors import Misuse
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.container.create import PIDS, Placement, create_options
from greenroom.homeserver.container.engine import Engine
from greenroom.homeserver.synapse import COMMAND, ENTRYPOINT, INSIDE, PORT, config_files, synapse_recipe
from greenroom.processes.runs import Run

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())
IMAGES_HERE = {"synapse": "synapse:1", "bot": "bot:1"}


@pytest.fixture
def stack(tmp_path) -> Stack:
    return Stack(tmp_path / "compose", port=18123)


def service(name: str) -> dict:
    return COMPOSE["services"][name]


def test_the_stacks_homeserver_is_started_like_a_throwaway_one(tmp_path, stack):
    """Command, port, privileges and limits in compose.yaml equal those of the container backend."""
    recipe = synapse_recipe("image", HomeserverSettings(), stack.secrets(), tmp_path)
    options = create_options(recipe, Placement(Engine(None, "", ""), Run("run"), tmp_path, tmp_path))
    homeserver = service("homeserver")

    assert homeserver["entrypoint"] == ENTRYPOINT
    assert homeserver["command"] == COMMAND
    assert homeserver["working_dir"] == INSIDE
    assert homeserver["ports"][0].endswith(f":{PORT}")
    assert homeserver["environment"] == recipe.env
    assert homeserver["pids_limit"] == PIDS
    assert (homeserver["cap_drop"], homeserver["security_opt"]) == (options["cap_drop"], options["security_opt"])


def test_the_stacks_configuration_comes_from_the_harness_renderer(stack):
    """The stack's configuration files are those of a harness container, byte for byte, with the stack's secrets."""
    write_files(stack, IMAGES_HERE)

    for name, content in config_files(HomeserverSettings(), stack.secrets()).items():
        assert (stack.homeserver / name).read_bytes() == content


def test_postgresql_replaces_the_database_and_nothing_else(stack):
    """The profile `postgres` changes only the `database` key, and both sides get the same password."""
    with_postgres = Stack(stack.folder, stack.port, ("postgres",))

    plain = yaml.safe_load(config_files(stack_settings(stack), stack.secrets())["homeserver.yaml"])
    rendered = yaml.safe_load(config_files(stack_settings(with_postgres), stack.secrets())["homeserver.yaml"])

    database = rendered.pop("database")
    del plain["database"]
    assert rendered == plain
    assert database["name"] == "psycopg2"
    given = variables(stack, IMAGES_HERE, "991:991")
    assert database["args"]["password"] == given["GREENROOM_POSTGRES_PASSWORD"]
    assert service("postgres")["environment"]["POSTGRES_USER"] == database["args"]["user"]
    assert "--locale=C" in service("postgres")["environment"]["POSTGRES_INITDB_ARGS"]


def test_everything_is_published_on_loopback_only():
    """The stack publishes ports on loopback only, and none for PostgreSQL and the bot."""
    published = {name: each.get("ports", []) for name, each in COMPOSE["services"].items()}

    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert {name for name, ports in published.items() if ports} == {"homeserver", "web"}


def test_element_web_knows_this_homeserver_and_no_other(stack):
    """Element Web's only homeserver is the stack's, at the address that a browser here can reach."""
    write_files(stack, IMAGES_HERE)

    config = json.loads((stack.folder / "web" / "config.json").read_text())

    assert config["default_server_config"] == {
        "m.homeserver": {"base_url": "http://127.0.0.1:18123", "server_name": "greenroom.test"}
    }


def test_secrets_are_made_once_and_stay_private(stack):
    """A second `compose up` keeps the secrets of the first, and only the owner can read them."""
    first = write_files(stack, IMAGES_HERE)
    second = write_files(stack, IMAGES_HERE)

    assert first == second
    private = [stack.folder / VARIABLES_FILE, stack.folder / "secrets.json", stack.homeserver / "homeserver.yaml"]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}


def test_a_file_of_the_stack_is_replaced_and_never_half_written(stack):
    """A reader who opened the variables before a second `compose up` still reads all of the first ones."""
    write_files(stack, IMAGES_HERE)
    before = (stack.folder / VARIABLES_FILE).read_text()

    with (stack.folder / VARIABLES_FILE).open() as reader:
        write_files(Stack(stack.folder, port=18124), IMAGES_HERE)
        seen = reader.read()

    assert seen == before
    assert "GREENROOM_PORT=18124\n" in (stack.folder / VARIABLES_FILE).read_text()
    assert not list(stack.folder.rglob(".*"))


def test_the_bots_service_and_image_agree():
    """The bot's image keeps its state in the volume, does not run as root, and has a health check."""
    dockerfile = (ROOT / IMAGES["bot"].dockerfile).read_text()

    volume, _, where = service("bot")["volumes"][0].partition(":")
    assert volume in COMPOSE["volumes"]
    assert f"MATRIX_DB_PATH={where}/" in dockerfile
    assert f"MATRIX_STORE_PATH={where}/" in dockerfile
    assert "\nUSER 992:992\n" in dockerfile
    assert "\nHEALTHCHECK " in dockerfile
    assert service("bot")["environment"]["MATRIX_USER_ID"] == "@bot:greenroom.test"


def test_two_checkouts_have_two_stacks(tmp_path):
    """The stacks of two checkouts have different names, so containers and volumes do not clash."""
    assert project_name(tmp_path / "a") != project_name(tmp_path / "b")


def test_an_unknown_profile_is_refused_before_anything_is_made(tmp_path):
    """An unknown profile is refused with the list of profiles, before any file is written."""
    with pytest.raises(Misuse, match="there are postgres, web"):
        up(DevFolder(tmp_path), profiles=["mysql"])

    assert list(tmp_path.iterdir()) == []


def test_a_blueprint_that_fixes_the_bots_password_is_refused_before_anything_is_made(tmp_path):
    """The bot's container logs in with the password derived from the stack's secret, so no other can work."""
    (tmp_path / "few.yaml").write_text("{version: 1, name: few, people: [{name: bot, password: said}]}")

    with pytest.raises(Misuse, match="leave the bot's out of the blueprint"):
        up(DevFolder(tmp_path), seed=str(tmp_path / "few.yaml"))

    assert [path.name for path in tmp_path.iterdir()] == ["few.yaml"]


@pytest.mark.parametrize("command", [["docker", "compose"], ["docker-compose"]], ids=" ".join)
@pytest.mark.parametrize("profiles", [(), ("postgres",), ("web",), ("postgres", "web")], ids=" ".join)
def test_compose_itself_accepts_the_stack(tmp_path, stack, command, profiles):
    """Each installed compose command accepts compose.yaml with every profile."""
    if (
        shutil.which(command[0]) is None
        or subprocess.run([*command, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"no `{' '.join(command)}` here")
    chosen = Stack(stack.folder, stack.port, profiles)
    write_files(chosen, IMAGES_HERE)

    answer = subprocess.run(
        [*compose_line(command, chosen, tmp_path), "config"], capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stderr
    resolved = yaml.safe_load(answer.stdout)["services"]
    assert {"homeserver", "bot", *profiles} <= resolved.keys()
    assert resolved["homeserver"]["image"] == "synapse:1"
