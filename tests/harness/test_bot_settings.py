"""What a bot under test is given: a clean environment of its own, and a command read as a shell would."""

from __future__ import annotations

import pytest

from greenroom.bot_process import bot_environment, split_command
from greenroom.errors import Misuse
from greenroom.people.accounts import Account, seeded_password, unique_localpart


def test_the_matrix_settings_of_whoever_runs_the_tests_do_not_leak_in():
    """A bot must never reach a real homeserver because its developer's shell knows one."""
    outer = {"MATRIX_HOMESERVER": "https://real.example", "MATRIX_PASSWORD": "real", "LANG": "C", "PATH": "/bin"}

    environment = bot_environment({"MATRIX_HOMESERVER": "http://127.0.0.1:1"}, outer)

    assert environment["MATRIX_HOMESERVER"] == "http://127.0.0.1:1"
    assert "MATRIX_PASSWORD" not in environment
    assert environment["LANG"] == "C"


def test_python_on_the_path_is_the_one_that_runs_the_harness():
    """`--bot 'python my_bot.py'` means the environment that the harness is installed in."""
    import sys
    from pathlib import Path

    assert bot_environment({}, {"PATH": "/bin"})["PATH"].split(":") == [str(Path(sys.executable).parent), "/bin"]


def test_a_command_is_split_as_a_shell_would():
    """Quotes hold together; nothing is expanded."""
    assert split_command("python 'my bot.py' --x=$HOME") == ["python", "my bot.py", "--x=$HOME"]


@pytest.mark.parametrize("command", ["", "   ", "python 'my_bot.py"])
def test_a_command_that_cannot_be_read_is_refused(command):
    """With its reason."""
    with pytest.raises(Misuse, match="the bot's command"):
        split_command(command)


def test_names_of_people_are_unique_and_tell_the_test():
    """A look at the server's log says whose they are."""
    names = {unique_localpart("alice", "test_it_works[case 1]") for _ in range(50)}

    assert len(names) == 50
    assert all(name.startswith("alice-test-it-works-case-1-") for name in names)


def test_seeded_passwords_are_readable_and_the_same_in_every_run():
    """They can be printed in a document."""
    assert seeded_password("qa", "alice") == "alice-qa-pass"


def test_an_account_does_not_show_its_secrets():
    """A failing assertion prints its operands."""
    assert repr(Account("@a:b", "secret", "token", "D")) == "Account(user_id='@a:b', device_id='D')"
