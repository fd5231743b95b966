"""A bot under test gets a clean environment, and its command is split as a shell would."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from greenroom.bot_process import OUR_BOT, bot_environment, is_ours, split_command
from greenroom.errors import Misuse
from greenroom.people.accounts import Account, derived_password, unique_localpart


def test_the_matrix_settings_of_the_developer_do_not_reach_the_bot():
    """A bot under test never connects to the real homeserver that the developer's shell names."""
    outer = {"MATRIX_HOMESERVER": "https://real.example", "MATRIX_PASSWORD": "real", "LANG": "C", "PATH": "/bin"}

    environment = bot_environment({"MATRIX_HOMESERVER": "http://127.0.0.1:1"}, outer)

    assert environment["MATRIX_HOMESERVER"] == "http://127.0.0.1:1"
    assert "MATRIX_PASSWORD" not in environment
    assert environment["LANG"] == "C"


def test_python_on_the_path_is_the_one_that_runs_the_harness():
    """`--bot 'python my_bot.py'` uses the environment in which the harness is installed."""
    assert bot_environment({}, {"PATH": "/bin"})["PATH"].split(":") == [str(Path(sys.executable).parent), "/bin"]


def test_a_command_is_split_as_a_shell_would():
    """Quoted parts stay together, and variables are not expanded."""
    assert split_command("python 'my bot.py' --x=$HOME") == ["python", "my bot.py", "--x=$HOME"]


@pytest.mark.parametrize("command", ["", "   ", "python 'my_bot.py"])
def test_a_command_that_cannot_be_read_is_refused(command):
    """An empty command or an open quote is an error that names the bot's command."""
    with pytest.raises(Misuse, match="the bot's command"):
        split_command(command)


def test_account_names_are_unique_and_contain_the_name_of_the_test():
    """In the server's log each account shows to which test it belongs."""
    names = {unique_localpart("alice", "test_it_works[case 1]") for _ in range(50)}

    assert len(names) == 50
    assert all(name.startswith("alice-test-it-works-case-1-") for name in names)


def test_a_derived_password_needs_the_secret_of_the_homeserver():
    """A password is the same in every run, other for each person and each secret, and easy to type."""
    passwords = {derived_password(secret, name) for secret in ("one", "two") for name in ("alice", "bot")}

    assert len(passwords) == 4
    assert derived_password("one", "alice") in passwords
    assert all(re.fullmatch("[a-z2-7]{20}", password) for password in passwords)


def test_an_account_does_not_show_its_secrets():
    """A failing assertion prints its operands, so `repr` leaves password and token out."""
    assert repr(Account("@a:b", "secret", "token", "D")) == "Account(user_id='@a:b', device_id='D')"


def test_the_reference_bot_does_not_look_for_modules_in_the_working_directory():
    """A `bot.py` or `nio.py` of the project in which it is started is not imported."""
    assert (sys.executable, "-P", "-m", "greenroom_bot") == OUR_BOT


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        (OUR_BOT, True),
        ((sys.executable, "-m", "greenroom_bot"), True),
        ("python bot.py", False),
        ((sys.executable, "-m", "bot"), False),
    ],
)
def test_the_reference_bot_is_recognised_by_its_command(command, ours):
    """With or without -P it is the same bot."""
    assert is_ours(command) is ours


def test_the_bot_of_a_project_keeps_its_folder_on_its_path():
    """`python my_bot.py` imports the modules beside it, so no safe-path setting is passed on to it."""
    assert "PYTHONSAFEPATH" not in bot_environment({}, {"PATH": "/bin"})
