"""Conduit's configuration, and registration by token on a fake homeserver that answers as Conduit does."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from aiohttp import web

from greenroom.errors import CapabilityMissing, MatrixRefused, Unavailable
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.conduit import CONDUIT, conduit_env, conduit_recipe
from greenroom.homeserver.container.start import ContainerHomeserver
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Capability, Registration
from greenroom.homeserver.settings import Secrets
from greenroom.people.accounts import next_stage, register, register_if_new

SECRETS = Secrets("the-token", "macaroon", "form", "ed25519 a_0000 key")
TOKEN_FLOW = {"stages": ["m.login.registration_token", "m.login.dummy"]}


def test_conduit_is_configured_wholly_by_its_environment():
    """Variables hold the whole configuration, and an empty CONDUIT_CONFIG tells Conduit that there is no file."""
    env = conduit_env(HomeserverSettings(), "token")

    assert env["CONDUIT_CONFIG"] == ""
    assert all(re.fullmatch(r"CONDUIT_[A-Z_]+", name) for name in env)
    assert env["CONDUIT_SERVER_NAME"] == "greenroom.test"
    assert (env["CONDUIT_DATABASE_BACKEND"], env["CONDUIT_DATABASE_PATH"]) == ("rocksdb", "/var/lib/matrix-conduit")
    assert (env["CONDUIT_ADDRESS"], env["CONDUIT_PORT"]) == ("0.0.0.0", "6167")


def test_conduit_lets_nobody_in_without_the_token_and_talks_to_nobody():
    """Conduit registers by token only, without federation or update checks; values are written as in TOML."""
    env = conduit_env(HomeserverSettings(), "token")

    assert (env["CONDUIT_ALLOW_REGISTRATION"], env["CONDUIT_REGISTRATION_TOKEN"]) == ("true", "token")
    assert env["CONDUIT_ALLOW_FEDERATION"] == env["CONDUIT_ALLOW_CHECK_FOR_UPDATES"] == "false"
    assert env["CONDUIT_TRUSTED_SERVERS"] == "[]"


def test_extra_settings_become_variables_and_win():
    """Fields of Conduit's global section that `extra` names override ours."""
    env = conduit_env(HomeserverSettings(extra={"max_request_size": 5, "allow_encryption": False}), "token")

    assert (env["CONDUIT_MAX_REQUEST_SIZE"], env["CONDUIT_ALLOW_ENCRYPTION"]) == ("5", "false")


def test_a_room_version_is_a_text_in_quotes():
    """Conduit reads 11 without quotes as a number, and its setting is a text. Without one, its own default applies."""
    assert conduit_env(HomeserverSettings(room_version="11"), "token")["CONDUIT_DEFAULT_ROOM_VERSION"] == '"11"'
    assert "CONDUIT_DEFAULT_ROOM_VERSION" not in conduit_env(HomeserverSettings(), "token")


def test_rate_limits_that_conduit_does_not_have_are_refused():
    """A test that wants rate limits fails on Conduit and does not run without them."""
    with pytest.raises(CapabilityMissing, match="choosing rate limits is not available: Conduit cannot do it"):
        conduit_env(HomeserverSettings(rate_limits="default"), "token")


def test_the_container_runs_conduits_binary_with_its_data_folder(tmp_path):
    """The container runs Conduit's binary, not as root, on the data of the container before it."""
    (tmp_path / "rocks").mkdir()
    (tmp_path / "rocks" / "CURRENT").write_bytes(b"1")

    recipe = conduit_recipe("image", HomeserverSettings(), SECRETS, tmp_path)

    assert (recipe.entrypoint, recipe.folder, recipe.port) == (
        ["/usr/local/bin/matrix-conduit"],
        "/var/lib/matrix-conduit",
        6167,
    )
    assert recipe.uid != 0
    assert recipe.files == {"rocks/CURRENT": b"1"}
    assert recipe.env["CONDUIT_REGISTRATION_TOKEN"] == "the-token"


def test_its_data_has_a_folder_apart_from_secrets_and_log(tmp_path):
    """A container's data has a folder of its own, so that nothing else goes into the next container."""
    assert ContainerHomeserver(tmp_path, kind=CONDUIT).data_folder == tmp_path / "data"


def test_what_conduit_cannot_do_is_said_by_name():
    """Conduit's capabilities leave out the admin API, the shared secret and rate limits."""
    assert Capability.REGISTRATION_TOKEN in CONDUIT.capabilities
    assert not CONDUIT.capabilities & {
        Capability.ADMIN_API,
        Capability.SHARED_SECRET_REGISTRATION,
        Capability.RATE_LIMITS,
    }


def test_the_shortest_flow_without_a_person_is_walked():
    """Registration takes the shortest flow without a captcha or e-mail; the error names the stages otherwise."""
    captcha = {"stages": ["m.login.recaptcha"]}
    assert next_stage([captcha, TOKEN_FLOW], set()) == "m.login.registration_token"
    assert next_stage([TOKEN_FLOW], {"m.login.registration_token"}) == "m.login.dummy"
    with pytest.raises(Unavailable, match=r"the homeserver wants m\.login\.recaptcha"):
        next_stage([captcha], set())


@pytest.fixture
async def conduit():
    """A fake server that registers accounts as Conduit does: by token and nothing else."""

    async def answer(request: web.Request) -> web.Response:
        auth = (await request.json()).get("auth")
        challenge = {"flows": [{"stages": ["m.login.registration_token"]}], "session": "s1", "params": {}}
        if auth is None:
            return web.json_response(challenge, status=401)
        if auth != {"type": "m.login.registration_token", "token": "the-token", "session": "s1"}:
            refusal = {"errcode": "M_FORBIDDEN", "error": "Invalid registration token", "completed": []}
            return web.json_response({**challenge, **refusal}, status=401)
        body = await request.json()
        if body["username"] == "bob":
            return web.json_response({"errcode": "M_USER_IN_USE", "error": "taken"}, status=400)
        return web.json_response(
            {"user_id": f"@{body['username']}:greenroom.test", "access_token": "t", "device_id": "D"}
        )

    app = web.Application()
    app.router.add_post("/_matrix/client/v3/register", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server = ExternalHomeserver(f"http://127.0.0.1:{port}", "greenroom.test", kind=CONDUIT.name)
    server.capabilities = CONDUIT.capabilities
    yield server
    await runner.cleanup()


async def test_an_account_is_registered_by_token(conduit):
    """A 401 that lists flows is answered with the token, and the account is registered."""
    conduit.registration = Registration(CONDUIT.registration, "the-token")

    account = await register(conduit, "alice", "secret")

    assert (account.user_id, account.password, account.access_token) == ("@alice:greenroom.test", "secret", "t")


async def test_a_wrong_token_is_the_servers_refusal_and_no_endless_loop(conduit):
    """A wrong token raises the server's own refusal after one try."""
    conduit.registration = Registration(CONDUIT.registration, "wrong")

    with pytest.raises(MatrixRefused, match="Invalid registration token"):
        await register(conduit, "alice")


async def test_an_account_of_an_earlier_start_is_no_error_but_any_other_refusal_is(conduit):
    """A taken name is None. A refused token raises the server's own refusal."""
    conduit.registration = Registration(CONDUIT.registration, "the-token")

    assert await register_if_new(conduit, "alice", "secret") is not None
    assert await register_if_new(conduit, "bob", "secret") is None
    conduit.registration = Registration(CONDUIT.registration, "wrong")
    with pytest.raises(MatrixRefused, match="Invalid registration token"):
        await register_if_new(conduit, "alice", "secret")


async def test_an_administrator_is_refused_where_there_is_no_admin_api(conduit):
    """Without an admin API an administrator is refused before anything is registered."""
    conduit.registration = Registration(CONDUIT.registration, "the-token")

    with pytest.raises(CapabilityMissing, match="Synapse's admin API"):
        await register(conduit, "root", admin=True)


def test_a_test_that_needs_what_its_homeserver_cannot_do_is_skipped_with_the_reason(tmp_path):
    """A test that needs a missing capability is skipped with its name; any other error fails the test."""
    (tmp_path / "test_it.py").write_text(
        "from greenroom.errors import CapabilityMissing, Unavailable\n"
        "def test_lacks(): raise CapabilityMissing('room upgrades', 'homeserver (conduit, container)')\n"
        "def test_broken(): raise Unavailable('x', 'y', 'z')\n"
    )

    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 failed, 1 skipped" in answer.stdout
    assert "room upgrades is not available: homeserver (conduit, container) cannot do it" in answer.stdout
