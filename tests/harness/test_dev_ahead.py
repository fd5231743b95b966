"""What the reference bot needs is known ahead of its homeserver's start only if nothing has changed since last time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom.commands.dev.ahead import environment_ahead
from greenroom.commands.dev.folder import SECRETS, DevFolder
from greenroom.commands.dev.options import DevOptions
from greenroom.homeserver.choose import Choice
from greenroom.homeserver.interface import Backend
from greenroom.homeserver.kind import find_kind
from greenroom.homeserver.settings import Secrets
from greenroom.people.accounts import derived_password
from greenroom.seed.load import load_blueprint, parse_blueprint
from greenroom.seed.note import Note, note_path, write_note

OPTIONS = DevOptions(Choice(find_kind("synapse"), Backend.PROCESS, "here"), load_blueprint("qa"), "qa")
OTHER = parse_blueprint("{version: 1, name: qa, people: [{name: erin}]}", "other.yaml")


@pytest.fixture
def folder(tmp_path) -> DevFolder:
    """A project in which `dev` has run."""
    folder = DevFolder(tmp_path)
    folder.prepare()
    folder.homeserver.mkdir()
    Secrets.kept_in(folder.homeserver / SECRETS)
    write_note(note_path(folder.homeserver, OPTIONS.blueprint), Note.of(OPTIONS.blueprint))
    return folder


def password(folder: DevFolder) -> str:
    """Return the password that the bot's account has."""
    return derived_password(Secrets.kept_in(folder.homeserver / SECRETS).registration_shared_secret, "bot")


def test_the_environment_follows_from_secrets_blueprint_and_port(folder):
    """The settings passed on are those of now."""
    environment = environment_ahead(folder, OPTIONS, 8008, {"MATRIX_RESPONDER": "mine:make"})

    assert environment == {
        "MATRIX_HOMESERVER": "http://127.0.0.1:8008",
        "MATRIX_USER_ID": "@bot:greenroom.test",
        "MATRIX_PASSWORD": password(folder),
        "MATRIX_DB_PATH": str(folder.bot / "lambda_matrix.db"),
        "MATRIX_STORE_PATH": str(folder.bot / "matrix_store"),
        "MATRIX_RESPONDER": "mine:make",
    }


@pytest.mark.parametrize(
    ("options", "port"),
    [
        (replace(OPTIONS, bot=("python", "my_bot.py")), 8008),
        (replace(OPTIONS, blueprint=OTHER), 8008),
        (replace(OPTIONS, blueprint=load_blueprint("drift")), 8008),
        (OPTIONS, 0),
    ],
    ids=["another bot", "an edited blueprint", "another blueprint", "any port"],
)
def test_a_bot_is_held_where_something_differs(folder, options, port):
    """It then starts when the homeserver answers."""
    assert environment_ahead(folder, options, port, {}) is None


def test_a_bot_that_the_blueprint_lacks_has_an_account_once_everything_ran(folder):
    """Its account is made before dev.env is written for the first time."""
    options = replace(OPTIONS, blueprint=OTHER)
    write_note(note_path(folder.homeserver, OTHER), Note.of(OTHER))
    assert environment_ahead(folder, options, 8008, {}) is None

    folder.write_last({}, {})

    environment = environment_ahead(folder, options, 8008, {})
    assert environment is not None
    assert (environment["MATRIX_USER_ID"], environment["MATRIX_PASSWORD"]) == ("@bot:greenroom.test", password(folder))


@pytest.mark.parametrize("text", [None, "garbage"])
def test_a_bot_is_held_where_the_secrets_are_not_known(folder, text):
    """The homeserver's start says what is wrong."""
    (folder.homeserver / SECRETS).unlink()
    if text is not None:
        (folder.homeserver / SECRETS).write_text(text)

    assert environment_ahead(folder, OPTIONS, 8008, {}) is None
