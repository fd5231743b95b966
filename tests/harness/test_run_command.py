"""`greenroom run`: its command line, its variables and its exit codes, without a homeserver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from greenroom.commands.run.failure import causes_in
from greenroom.commands.run.people import names_of
from greenroom.commands.run.program import check_exists, command_of
from greenroom.commands.run.variables import VARIABLES, Scene, check_names, environment, variable_part
from greenroom.errors import Misuse
from greenroom.faults.transcript import Entry
from greenroom.people.accounts import Account
from greenroom.seed.load import load_blueprint

SERVER = SimpleNamespace(server_name="greenroom.test", describe=dict)


def test_the_command_is_what_stands_behind_the_first_dashes():
    """Words keep their blanks, and later dashes belong to the command."""
    assert command_of(["greenroom", "run", "--", "sh", "-c", "a  b", "--", "c"]) == ("sh", "-c", "a  b", "--", "c")


@pytest.mark.parametrize("argv", [["greenroom", "run"], ["greenroom", "run", "--"]])
def test_a_command_line_without_a_command_is_misuse(argv):
    """The message shows how it is done."""
    with pytest.raises(Misuse, match="behind `--`"):
        command_of(argv)


@pytest.mark.parametrize(("argv", "problem"), [(["no-such-program"], "does not exist"), (["./file"], "not executable")])
def test_a_command_that_cannot_run_is_misuse(argv, problem, tmp_path, monkeypatch):
    """It is found before anything starts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    with pytest.raises(Misuse, match=problem):
        check_exists(argv)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--", "no-such-program"], 2, "the command 'no-such-program' does not exist"),
        (["--homeserver", "cloud", "--", "true"], 2, "no such homeserver"),
        (["--seed", "qq", "--", "true"], 2, "no such blueprint"),
        (["--manners", "polite", "--", "true"], 2, "no such manners"),
        (["--homeserver", "conduit", "--backend", "process", "--", "true"], 3, "runs in a container only"),
    ],
)
def test_misuse_is_2_and_a_homeserver_that_cannot_be_had_is_3(words, code, says):
    """One line on the standard error, and nothing on the output, which is the command's."""
    done = subprocess.run([sys.executable, "-m", "greenroom", "run", *words], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_who_is_there():
    """Named people, those of the blueprint, or the usual three."""
    qa = load_blueprint("qa")

    assert names_of([], None) == ("alice", "bob", "bot")
    assert names_of(["carol", "carol"], None) == ("carol",)
    assert names_of([], qa) == ()
    assert names_of(["zoe", qa.people[0].name], qa) == ("zoe",)
    with pytest.raises(Misuse, match="small letters"):
        names_of(["Al Ice"], None)


def test_two_people_never_share_a_variable():
    """A dot and a dash are both `_` in a variable."""
    check_names(["night-bot", "bot"])
    with pytest.raises(Misuse, match="GREENROOM_A_B_USER_ID"):
        check_names(["a-b", "a.b"])


def test_the_table_names_every_variable_of_a_scene():
    """And a scene has every variable of the table."""
    people = [Account("@bot:greenroom.test", "p", "t"), Account("@night-owl:greenroom.test", "q", "u")]
    interface = {"GREENROOM_URL": "http://127.0.0.1:1", "GREENROOM_KEY": "k"}
    scene = Scene(SERVER, "http://127.0.0.1:2", "http://127.0.0.1:3", people, interface=interface)

    values = scene.variables(Path("/told.json"))

    names = [variable_part(person.localpart) for person in people]
    assert values.keys() == {table.format(NAME=name) for table in VARIABLES for name in names}
    assert values["MATRIX_ACCESS_TOKEN"] == values["GREENROOM_BOT_ACCESS_TOKEN"] == "t"
    assert values["GREENROOM_NIGHT_OWL_PASSWORD"] == "q"


def test_the_settings_of_another_homeserver_do_not_reach_the_command():
    """A test that means the throwaway homeserver must not meet a real account."""
    stays = {"PATH": "/bin", "GREENROOM_TIMEOUT_FACTOR": "2"}
    outer = {"MATRIX_ACCESS_TOKEN": "real", "GREENROOM_KEY": "of an outer run", "GREENROOM_NIGHT_OWL_PASSWORD": "too"}

    assert environment({"MATRIX_HOMESERVER": "x"}, outer | stays) == {"MATRIX_HOMESERVER": "x", **stays}


def test_the_causes_of_a_failure():
    """No request at all, or those that were refused."""
    refused = Entry(0.0, "POST", "/_matrix/client/v3/login", "", None, status=403, duration_s=0.1)

    assert [cause.kind for cause in causes_in([], ())] == ["no request"]
    assert causes_in([refused], ())[0].headline.startswith("the command could not log in: POST /login was refused")
    of_a_bot = Entry(0.0, "PUT", "/_matrix/client/v3/x", "", "@echo:b.org", status=403, duration_s=0.1)
    assert causes_in([of_a_bot], ["@echo:b.org"])[0].headline.startswith("the bot's PUT")
