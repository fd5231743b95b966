"""Variables are filled into a bot's configuration files, and what is mentioned is made."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from greenroom.bot_process import bot_environment
from greenroom.configuration.files import check_path, fill_files, write_files
from greenroom.configuration.making import make_variables
from greenroom.configuration.variables import VARIABLES, check_no_slip, filled, mentioned, mentions
from greenroom.errors import Misuse
from greenroom.evidence.scrub import lines_without_secrets
from greenroom.people.accounts import Account

BOT = Account("@bot-1:greenroom.test", "secret", "token-of-the-bot", "DEVICE")
SERVER = SimpleNamespace(url="http://127.0.0.1:1", server_name="greenroom.test")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("url: ${PORT}/x", "url: 8080/x"),
        ("cost: $$5, $${PORT}", "cost: $5, ${PORT}"),
        ("$PORT $2b$12$hash $", "$PORT $2b$12$hash $"),
        ("{word} {{x}}", "{word} {{x}}"),
    ],
)
def test_only_names_in_braces_are_filled_in(text, result):
    """`$$` is a dollar. Everything else stays, so a password hash or a template of another language survives."""
    assert filled(text, {"PORT": "8080"}) == result


def test_an_unknown_variable_lists_those_that_there_are():
    """The message is one line with the nearest name, every name, and how to write the text itself."""
    with pytest.raises(Misuse) as caught:
        filled("${MATRIX_HOMESERVR}", {})

    said = str(caught.value)
    assert "there is no variable ${MATRIX_HOMESERVR}; did you mean 'MATRIX_HOMESERVER'?" in said
    assert all(name in said for name in VARIABLES)
    assert said.endswith(" For this text write $${MATRIX_HOMESERVR}")


def test_a_variable_of_promises_files_has_no_value_in_a_test():
    """A test that mentions `${ROOM}` reads who makes it otherwise."""
    with pytest.raises(
        Misuse, match=r"\$\{ROOM\} has no value here: .*promises file only.*; pass it in the bot's `env`"
    ):
        filled("${ROOM}", {})


def test_a_slip_is_found_where_other_names_may_stand():
    """A shell command may have variables of its own. Only what looks like one of ours is refused."""
    check_no_slip("sh -c 'echo ${x} ${OWNER} ${OWNERS}'", {"OWNERS"})

    with pytest.raises(Misuse, match="did you mean 'OWNER'"):
        check_no_slip("bot --owner ${OWNR}", {})


def test_what_the_environment_sets_is_not_made():
    """`NAME: ${NAME}` passes a variable on; any other value sets it."""
    found = mentions("bot ${PORT}", {"PORT": "80", "ADMIN_TOKEN": "${ADMIN_TOKEN}"}, {"a": "${PORT_2} $PORT_3"})

    assert found == {"ADMIN_TOKEN", "PORT_2"}
    assert mentioned(["$${PORT}"]) == set()


def test_variables_fill_the_environment_and_are_no_part_of_it():
    """A generic name such as PORT does not reach a bot that did not ask for it."""
    env = bot_environment(
        {"WEB": "${PORT}", "ADMIN_TOKEN": "${ADMIN_TOKEN}"}, {}, variables={"PORT": "1", "ADMIN_TOKEN": "t"}
    )

    assert (env["WEB"], env["ADMIN_TOKEN"], "PORT" in env) == ("1", "t", False)


async def test_only_what_is_mentioned_is_made(tmp_path):
    """Nothing is asked of the homeserver for a bot that mentions nothing, or that has a token already."""
    free = await make_variables(set(), SERVER, BOT, tmp_path, admin="admin")
    token = await make_variables({"MATRIX_ACCESS_TOKEN"}, SERVER, BOT, tmp_path, admin="admin")

    assert free.values == {"BOT_LOCALPART": "bot-1", "SERVER_NAME": "greenroom.test", "FOLDER": str(tmp_path)}
    assert free.accounts == []
    assert token.values["MATRIX_ACCESS_TOKEN"] == "token-of-the-bot"
    assert token.values["MATRIX_DEVICE_ID"] == "DEVICE"
    assert token.accounts == [BOT]


async def test_each_port_is_another_one(tmp_path):
    """A bot may need several."""
    made = await make_variables({"PORT", "PORT_2", "PORT_11", "PORTS"}, SERVER, BOT, tmp_path, admin="admin")

    ports = {name: value for name, value in made.values.items() if name.startswith("PORT")}
    assert ports.keys() == {"PORT", "PORT_2", "PORT_11"}
    assert len(set(ports.values())) == 3


@pytest.mark.parametrize("path", ["", ".", "..", "/etc/x", "../x", "a/../../x", "a\0b"])
def test_a_path_outside_the_folder_is_refused(path):
    """A configuration file never lands elsewhere on the developer's machine."""
    with pytest.raises(Misuse, match="is not a path inside the bot's folder"):
        check_path(path)


@pytest.mark.parametrize(
    ("paths", "says"), [(["a", "./a"], "'./a' is there already"), (["a/b", "a"], "cannot both be files")]
)
def test_files_that_are_in_each_others_way_are_refused(paths, says):
    """A folder and a file cannot have one path, and no text replaces another unseen."""
    with pytest.raises(Misuse, match=says):
        fill_files(dict.fromkeys(paths, "x"), {})


def test_files_are_written_for_their_owner_only(tmp_path):
    """They may hold passwords. Folders on the way are made."""
    write_files(tmp_path, fill_files({"a/b.toml": 'x = "${PORT}"'}, {"PORT": "1"}))

    assert (tmp_path / "a" / "b.toml").read_text() == 'x = "1"'
    assert (tmp_path / "a" / "b.toml").stat().st_mode & 0o777 == 0o600


def test_a_mistake_names_the_file():
    """A bot may have several configuration files."""
    with pytest.raises(Misuse, match=r"^b.yaml: there is no variable \$\{X\}"):
        fill_files({"a.yaml": "x", "b.yaml": "${X}"}, {})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password: abc, def", "password: [redacted]"),
        ("homeserver: http://x", "homeserver: http://x"),
        ('{"a": "b", "access_token": "x\\"y", "c": 1}', '{"a": "b", "access_token": [redacted], "c": 1}'),
        ("{a: 1, bot_secret: zzz}", "{a: 1, bot_secret: [redacted]"),
        ("api_key = 'hello'", "api_key = [redacted]"),
        ("secrets: |\n  one\n\n  two\nafter: 3", "secrets: |\n  [redacted]\n\n  [redacted]\nafter: 3"),
        ("password:\nnext: 1", "password:\nnext: 1"),
        ("password:\n  abc\nnext: 1", "password:\n  [redacted]\nnext: 1"),
        ("api_keys:\n  - one\n  - two\nnext: 1", "api_keys:\n  [redacted]\n  [redacted]\nnext: 1"),
        ("tokens: # mine\n- one\nnext: 1", "tokens: \n[redacted]\nnext: 1"),
        ("- password:\n    abc\n  other: x\n", "- password:\n    [redacted]\n  other: x\n"),
        ('{\n "tokens": [\n  "abc"\n ],\n "x": 1\n}', '{\n "tokens": [\n  [redacted]\n ],\n "x": 1\n}'),
        ("{'token': 'a', 'tokens': [\n 'b'\n]}", "{'token': [redacted], 'tokens': [\n [redacted]\n]}"),
        ('tokens = ["a",\n"b"]\nx = 1', "tokens = [redacted]\n[redacted]\nx = 1"),
        ('token = """\nabc\n"""\nx = 1', 'token = """\n[redacted]\n[redacted]\nx = 1'),
        ('token = """abc\ndef"""\nx = 1', "token = [redacted]\n[redacted]\nx = 1"),
        ('tokens = [\n[\n],\n"b"\n]\nx = 1', "tokens = [\n[redacted]\n[redacted]\n[redacted]\n]\nx = 1"),
        ("token: 'it''s'\nx: 1", "token: [redacted]\nx: 1"),
        ('token: "abc\n  def"\nx: 1', "token: [redacted]\n  [redacted]\nx: 1"),
    ],
)
def test_a_secret_in_a_configuration_file_stays_out_of_bundles(text, shown):
    """A value with a secret's name is redacted, whatever the format of the file."""
    assert lines_without_secrets(text) == shown
