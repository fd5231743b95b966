"""Settings: from the environment only, all mistakes told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom_bot.config import Config, settings_table
from greenroom_bot.matrix.errors import ConfigError

GOOD = {"MATRIX_HOMESERVER": "http://127.0.0.1:8008/", "MATRIX_USER_ID": "@bot:hs1", "MATRIX_PASSWORD": "secret"}


def test_three_variables_are_enough_and_the_rest_has_defaults():
    """Three variables are enough; the rest has its documented default. A trailing slash does not matter."""
    config = Config.from_environ(GOOD)

    assert config.homeserver == "http://127.0.0.1:8008"
    assert (config.db_path, config.store_path) == (Path("lambda_matrix.db"), Path("matrix_store"))
    assert (config.instance, config.responder, config.encrypt_rooms) == (
        "default",
        "greenroom_bot.responder:echo",
        False,
    )


def test_messages_are_logged_only_on_demand():
    """A production log holds nothing that people write unless somebody asks for it."""
    assert not Config.from_environ(GOOD).log_messages
    assert Config.from_environ({**GOOD, "MATRIX_LOG_MESSAGES": "1"}).log_messages


def test_an_empty_variable_counts_as_absent():
    """As `FOO= command` leaves it."""
    config = Config.from_environ({**GOOD, "MATRIX_DB_PATH": "", "MATRIX_ENCRYPT_ROOMS": "", "MATRIX_ALLOWED_USERS": ""})

    assert config == Config.from_environ(GOOD)


def test_an_access_token_stands_in_for_a_password():
    """One of the two is needed."""
    assert Config.from_environ({**GOOD, "MATRIX_PASSWORD": "", "MATRIX_ACCESS_TOKEN": "t"}).access_token == "t"


def test_all_mistakes_are_told_in_one_line():
    """Nobody should have to start a bot five times."""
    wrong = {"MATRIX_HOMESERVER": "localhost:8008", "MATRIX_ENCRYPT_ROOMS": "maybe", "MATRIX_LOG_LEVEL": "loud"}

    with pytest.raises(ConfigError) as failed:
        Config.from_environ(wrong)

    for part in (
        "MATRIX_HOMESERVER",
        "MATRIX_USER_ID is not set",
        "MATRIX_PASSWORD",
        "MATRIX_ENCRYPT_ROOMS",
        "LOG_LEVEL",
    ):
        assert part in str(failed.value)
    assert "\n" not in str(failed.value)
    assert failed.value.exit_code == 2


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MATRIX_HOMESERVER", "ftp://hs1"), ("MATRIX_HOMESERVER", "http://"), ("MATRIX_HOMESERVER", "http://[::1"),
        ("MATRIX_USER_ID", "bot"), ("MATRIX_USER_ID", "@bot"), ("MATRIX_ALLOWED_USERS", "@alice:hs1,carol"),
        ("MATRIX_ENCRYPT_ROOMS", "2"), ("MATRIX_LOG_LEVEL", "verbose"),
    ],
)  # fmt: skip
def test_a_malformed_value_is_named_with_its_variable(variable, value):
    """And shown."""
    with pytest.raises(ConfigError, match=f"{variable} "):
        Config.from_environ({**GOOD, variable: value})


def test_a_secret_never_appears_in_an_error():
    """Errors end up in logs."""
    with pytest.raises(ConfigError) as failed:
        Config.from_environ({**GOOD, "MATRIX_USER_ID": "bot"})

    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_a_flag_may_be_written_in_several_ways(value):
    """1, true, yes; 0, false, no."""
    assert Config.from_environ({**GOOD, "MATRIX_ENCRYPT_ROOMS": value}).encrypt_rooms is True


@pytest.mark.parametrize(
    ("allowed", "user_id", "may"),
    [
        ("", "@anybody:hs1", True),
        ("", "@alice:elsewhere", False),
        ("@alice:a.org", "@alice:a.org", True),
        ("@alice:a.org", "@alice:hs1", False),
        ("@alice:a.org", "@bob:a.org", False),
        ("@*:b.org", "@anybody:b.org", True),
        ("@*:b.org", "@anybody:evil.b.org", False),
        ("@*:b.org", "@anybody:b.org.evil", False),
        ("@*:b.org", "@a:evil:b.org", False),
        ("@alice:a.org, @*:b.org", "@x:b.org", True),
        ("@al*:a.org", "@alice:a.org", False),
        ("@*:*", "@alice:a.org", False),
        ("@*:b.org:8448", "@alice:b.org:8448", True),
    ],
)
def test_who_may_use_the_bot(allowed, user_id, may):
    """Ids, or everybody of one server; no other wildcard. Absent: the bot's own server."""
    assert Config.from_environ({**GOOD, "MATRIX_ALLOWED_USERS": allowed}).allows(user_id) is may


def test_every_setting_says_what_it_means_and_what_happens_without_it():
    """README and --help print this table."""
    rows = settings_table()

    assert len({name for name, _, _ in rows}) == len(rows)
    assert all(name.startswith("MATRIX_") and meaning and absent for name, meaning, absent in rows)


def test_a_list_of_users_that_names_nobody_is_a_mistake():
    """Else it would mean everybody."""
    with pytest.raises(ConfigError, match="MATRIX_ALLOWED_USERS"):
        Config.from_environ({**GOOD, "MATRIX_ALLOWED_USERS": " , "})
