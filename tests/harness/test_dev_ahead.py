"""What the reference bot needs is known ahead of its homeserver's start only if nothing has changed since last time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom.commands.dev.ahead import environment_ahead
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.options import DevOptions
from greenroom.homeserver.choose import Choice
from greenroom.homeserver.interface import Backend
from greenroom.homeserver.kind import find_kind
from greenroom.seed.load import load_blueprint, parse_blueprint
from greenroom.seed.note import Note, note_path, write_note

LAST = {
    "MATRIX_HOMESERVER": "http://127.0.0.1:8008",
    "MATRIX_USER_ID": "@bot:greenroom.test",
    "MATRIX_PASSWORD": "said",
    "MATRIX_DB_PATH": "/elsewhere/before/the/project/moved.db",
}
OPTIONS = DevOptions(Choice(find_kind("synapse"), Backend.PROCESS, "here"), load_blueprint("qa"), "qa")
OTHER = parse_blueprint("{version: 1, name: qa, people: [{name: erin}]}", "other.yaml")


@pytest.fixture
def folder(tmp_path) -> DevFolder:
    """A project in which `dev` has run."""
    folder = DevFolder(tmp_path)
    folder.prepare()
    folder.homeserver.mkdir()
    write_note(note_path(folder.homeserver, OPTIONS.blueprint), Note.of(OPTIONS.blueprint))
    folder.write_state({}, LAST)
    return folder


def test_the_environment_of_last_time_with_todays_paths_and_settings(folder):
    """The project's folder may have moved, and the settings passed on are those of now."""
    environment = environment_ahead(folder, OPTIONS, 8008, {"MATRIX_RESPONDER": "mine:make"})

    assert environment == {
        "MATRIX_HOMESERVER": "http://127.0.0.1:8008",
        "MATRIX_USER_ID": "@bot:greenroom.test",
        "MATRIX_PASSWORD": "said",
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
        (OPTIONS, 18008),
    ],
    ids=["another bot", "an edited blueprint", "another blueprint", "any port", "another port"],
)
def test_a_bot_is_held_where_something_differs(folder, options, port):
    """It then starts when the homeserver answers."""
    assert environment_ahead(folder, options, port, {}) is None


@pytest.mark.parametrize("text", [None, "", "garbage", "MATRIX_HOMESERVER='open"])
def test_a_bot_is_held_where_the_last_time_is_not_known(folder, text):
    """`dev` did not get to its end, or dev.env is damaged: it is written anew in any case."""
    folder.state_file.unlink()
    folder.env_file.unlink()
    if text is not None:
        folder.env_file.write_text(text)

    assert environment_ahead(folder, OPTIONS, 8008, {}) is None
