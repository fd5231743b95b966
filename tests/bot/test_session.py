"""One device for life: which session is used, when there is a new device, and what is written down before asking."""

from __future__ import annotations

import json

import peewee
import pytest

from greenroom_bot.config import Config
from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import ConfigError, CredentialsError, StoreError
from greenroom_bot.matrix.retry import until_answered
from greenroom_bot.matrix.session import Session, authenticate
from greenroom_bot.matrix.sync import LiveClient
from tests.bot.factory import CAROL, ME
from tests.fake_homeserver import PASSWORD


@pytest.fixture
def config(server, tmp_path):
    return Config(
        homeserver=server.url, user_id=ME, password=PASSWORD, db_path=tmp_path / "bot.db", store_path=tmp_path / "keys"
    )


async def logged_in(config, known_device=None):
    """Authenticate as one start of the bot does; return how it got in."""
    config.store_path.mkdir(exist_ok=True)
    client = Client(config.homeserver, config.user_id, store_path=str(config.store_path))
    try:
        return await until_answered(
            "homeserver",
            lambda: authenticate(client, config.credentials, known_device=known_device, device_name="Test"),
        )
    finally:
        await client.close()


def logins(server):
    return [r.body["device_id"] for r in server.requests if r.path == "/login"]


async def test_the_first_start_logs_in_and_the_next_ones_restore_the_session(server, config):
    """One login, one device; whoami is all that a restart asks."""
    first = await logged_in(config)
    second = await logged_in(config, first.session.device_id)

    assert (first.fresh, first.keys_lost) == (True, False)
    assert (second.fresh, second.keys_lost) == (False, False)
    assert second.session == first.session
    assert server.paths() == ["POST /login", "GET /account/whoami"]


async def test_the_session_file_is_for_its_owner_only(server, config):
    """It holds an access token."""
    login = await logged_in(config)

    path = config.store_path / "session.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["access_token"] == login.session.access_token
    assert sorted(p.name for p in config.store_path.iterdir() if "session" in p.name) == ["session.json"]


@pytest.mark.parametrize("lost", [502, None], ids=["502 page", "cut"])
async def test_a_login_whose_answer_is_lost_is_repeated_on_the_same_device(server, config, lost):
    """The device id was chosen and noted before asking."""
    server.fail("POST /login", lost, after=True)

    login = await logged_in(config)

    first, second = logins(server)
    assert first == second == login.session.device_id
    assert not login.keys_lost


async def test_a_first_login_interrupted_by_a_kill_goes_on_with_the_same_device(server, config):
    """The noted device id is not a session yet, and not a lost one."""
    server.fail("POST /login", 403, {"errcode": "M_FORBIDDEN", "error": "not yet"}, after=True)
    with pytest.raises(CredentialsError):
        await logged_in(config)

    login = await logged_in(config)

    assert len(set(logins(server))) == 1
    assert not login.keys_lost


async def test_a_wrong_password_is_a_credentials_error(server, config):
    """Named with account and server, without the password."""
    wrong = Config(**{**vars(config), "password": "wrong horse"})

    with pytest.raises(CredentialsError, match="refuses the password of @bot:hs1: M_FORBIDDEN") as failed:
        await logged_in(wrong)

    assert "wrong horse" not in str(failed.value)


async def test_a_revoked_session_logs_in_again_on_the_same_device(server, config):
    """Its keys are still there, so it is no new device."""
    first = await logged_in(config)
    server.devices.clear()

    second = await logged_in(config, first.session.device_id)

    assert second.session.device_id == first.session.device_id
    assert second.session.access_token != first.session.access_token
    assert (second.fresh, second.keys_lost) == (True, False)


async def test_a_revoked_session_without_a_password_is_a_credentials_error(server, config):
    """Somebody took the password out of the settings."""
    await logged_in(config)
    server.devices.clear()

    with pytest.raises(CredentialsError, match="MATRIX_PASSWORD is not set"):
        await logged_in(Config(**{**vars(config), "password": None}))


async def test_a_server_that_is_away_does_not_cost_the_session(server, config):
    """Only M_UNKNOWN_TOKEN ends one."""
    first = await logged_in(config)
    server.fail("whoami", 502, times=3)

    second = await logged_in(config, first.session.device_id)

    assert second.session == first.session
    assert len(logins(server)) == 1


@pytest.mark.parametrize("what", ["keys only", "whole directory"])
async def test_lost_keys_mean_a_new_device_and_are_told(server, config, what):
    """The old device id would clash with the keys that the server remembers; the old device is logged out."""
    first = await logged_in(config)
    for path in config.store_path.iterdir():
        if what == "whole directory" or path.suffix == ".db":
            path.unlink()

    second = await logged_in(config, known_device=first.session.device_id)

    assert second.keys_lost
    assert second.session.device_id != first.session.device_id
    assert (first.session.access_token in server.devices) == (what == "whole directory")


async def test_a_first_start_with_an_empty_directory_has_lost_nothing(server, config):
    """No device was known."""
    assert not (await logged_in(config, known_device=None)).keys_lost


@pytest.mark.parametrize("known", [True, False], ids=["database intact", "database lost"])
@pytest.mark.parametrize("content", [None, "{"], ids=["lost", "garbled"])
async def test_a_session_file_that_is_gone_does_not_cost_the_keys(server, config, content, known):
    """The key file names its device, so the bot logs in on that device again."""
    first = await logged_in(config)
    (config.store_path / "session.json").unlink()
    if content:
        (config.store_path / "session.json").write_text(content)

    second = await logged_in(config, known_device=first.session.device_id if known else None)

    assert second.session.device_id == first.session.device_id
    assert not second.keys_lost
    assert (first.ran_before, second.ran_before) == (False, True)


async def test_keys_of_several_devices_and_no_session_make_a_new_device(server, config):
    """Nothing tells which of them is the bot's."""
    first = await logged_in(config)
    first.session.keys_path(config.store_path).with_name(f"{ME}_OTHER.db").write_bytes(b"keys")
    (config.store_path / "session.json").unlink()

    second = await logged_in(config)

    assert second.session.device_id not in (first.session.device_id, "OTHER")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"user_id": "@bot:hs1"}', '"x"', "null"])
async def test_an_unreadable_session_file_is_none(server, config, content):
    """Then the bot logs in."""
    config.store_path.mkdir()
    (config.store_path / "session.json").write_text(content)

    assert Session.load(config.store_path) is None
    assert (await logged_in(config)).fresh


async def test_another_accounts_session_is_refused(server, config):
    """Two bots with one directory would take each other's place."""
    Session(CAROL, "D", "t").save(config.store_path)

    with pytest.raises(ConfigError, match="saved session belongs to @carol:hs1, MATRIX_USER_ID is @bot:hs1"):
        await logged_in(config)


# With an access token


async def test_an_access_token_is_used_as_it_is(server, config):
    """Its device becomes the bot's device; no password login."""
    server.devices["given"] = "GIVEN"

    login = await logged_in(Config(**{**vars(config), "password": None, "access_token": "given"}))

    assert login.session == Session(ME, "GIVEN", "given")
    assert server.paths() == ["GET /account/whoami", "POST /keys/query"]


async def test_a_refused_access_token_is_a_credentials_error(server, config):
    """And nothing else is tried."""
    with pytest.raises(CredentialsError, match="refuses MATRIX_ACCESS_TOKEN: M_UNKNOWN_TOKEN"):
        await logged_in(Config(**{**vars(config), "access_token": "unknown"}))

    assert logins(server) == []


async def test_an_access_token_of_another_account_is_a_configuration_mistake(server, config):
    """MATRIX_USER_ID says who we are."""
    server.fail("whoami", 200, {"user_id": CAROL, "device_id": "D"})

    with pytest.raises(ConfigError, match="belongs to @carol:hs1"):
        await logged_in(Config(**{**vars(config), "access_token": "t"}))


async def test_an_access_token_whose_devices_keys_are_lost_asks_for_a_new_token(server, config):
    """The homeserver keeps the old keys under the same ids, and refuses new ones for ever."""
    server.devices["given"] = "GIVEN"
    with_token = Config(**{**vars(config), "access_token": "given"})
    client = LiveClient(config.homeserver, ME, store_path=str(config.store_path))
    await authenticate(client, with_token.credentials, known_device=None, device_name="Test")
    await client.upload_keys()
    await client.close()
    (config.store_path / f"{ME}_GIVEN.db").unlink()

    with pytest.raises(CredentialsError, match=r"device GIVEN, and its encryption keys are not in .* new token, or"):
        await logged_in(with_token, known_device="GIVEN")

    assert not (config.store_path / f"{ME}_GIVEN.db").exists()


@pytest.mark.parametrize("answer", [{}, {"user_id": ME}, {"user_id": ME, "access_token": 5, "device_id": "D"}], ids=str)
async def test_a_login_answer_that_lacks_something_is_asked_for_again(server, config, answer):
    """Not the homeserver's word: something in between answered."""
    server.fail("POST /login", 200, answer)

    assert (await logged_in(config)).session.device_id == logins(server)[0]


async def test_a_login_as_somebody_else_is_a_configuration_mistake(server, config):
    """The account's id is not what the settings say."""
    server.fail("POST /login", 200, {"user_id": CAROL, "access_token": "t", "device_id": "D"})

    with pytest.raises(ConfigError, match="logged in as @carol:hs1, MATRIX_USER_ID is @bot:hs1"):
        await logged_in(config)


async def test_keys_that_cannot_be_read_are_one_clear_line(server, config):
    """And what to do about it."""
    first = await logged_in(config)
    keys = first.session.keys_path(config.store_path)
    keys.write_bytes(b"no database at all, but long enough to look at")

    with pytest.raises(StoreError, match=r"the encryption keys in .* cannot be read .*move the file away"):
        await logged_in(config, known_device=first.session.device_id)


async def test_a_full_disk_is_not_taken_for_damaged_keys(server, config, monkeypatch):
    """Moving an intact key file away would make every older encrypted message unreadable."""
    first = await logged_in(config)

    def full(*_):
        raise peewee.OperationalError("database or disk is full")

    monkeypatch.setattr("nio.store.database.DefaultStore.load_account", full)

    with pytest.raises(StoreError, match=r"disk is full.*keep the file") as told:
        await logged_in(config, known_device=first.session.device_id)

    assert "move" not in str(told.value)


@pytest.mark.parametrize("token", [None, "given"])
async def test_a_url_that_is_no_homeserver_is_named(server, config, token):
    """A web server that answers 404 to everything."""
    server.fail("", 404, times=9)

    with pytest.raises(ConfigError, match=rf"{config.homeserver} is no Matrix homeserver .*check MATRIX_HOMESERVER"):
        await logged_in(Config(**{**vars(config), "access_token": token}))


async def test_an_empty_key_file_counts_as_lost_keys(server, config):
    """As a full disk leaves it: nio would take it for a new device's and say nothing."""
    first = await logged_in(config)
    first.session.keys_path(config.store_path).write_bytes(b"")

    second = await logged_in(config, known_device=first.session.device_id)

    assert second.keys_lost
    assert second.session.device_id != first.session.device_id
