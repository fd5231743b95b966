"""The configuration of Conduit and its relatives, and registration by token on a fake homeserver like Conduit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from greenroom.errors import CapabilityMissing, MatrixRefused, Unavailable
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.conduit import CONDUIT, CONTINUWUITY, TUWUNEL
from greenroom.homeserver.container.start import ContainerHomeserver
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Capability, Registration
from greenroom.homeserver.kind import HomeserverKind
from greenroom.homeserver.settings import Secrets
from greenroom.people.accounts import next_stage, register, register_if_new

SECRETS = Secrets("the-token", "macaroon", "form", "ed25519 a_0000 key")
TOKEN_FLOW = {"stages": ["m.login.registration_token", "m.login.dummy"]}


FAMILY = {
    "CONDUIT": (CONDUIT, "/var/lib/matrix-conduit", 6167),
    "TUWUNEL": (TUWUNEL, "/var/lib/tuwunel", 8008),
    "CONTINUWUITY": (CONTINUWUITY, "/var/lib/continuwuity", 8008),
}
"""Prefix of the variables -> kind, data folder and port as its documents have them."""
NOWHERE = Path("/nowhere")


def environment(kind: HomeserverKind, **settings: object) -> dict[str, str]:
    """Return the environment of a container of that kind."""
    return dict(kind.recipe("image", HomeserverSettings(**settings), SECRETS, NOWHERE).env)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", FAMILY)
def test_each_member_is_configured_wholly_by_its_environment(prefix):
    """Variables hold the whole configuration, under the prefix of the member."""
    kind, folder, port = FAMILY[prefix]

    env = environment(kind)

    assert all(re.fullmatch(rf"{prefix}_[A-Z_]+", name) for name in env)
    assert env[f"{prefix}_SERVER_NAME"] == "greenroom.test"
    assert env[f"{prefix}_DATABASE_PATH"] == folder
    assert (env[f"{prefix}_ADDRESS"], env[f"{prefix}_PORT"]) == ("0.0.0.0", str(port))


@pytest.mark.parametrize("prefix", FAMILY)
def test_each_member_lets_nobody_in_without_the_token_and_talks_to_nobody(prefix):
    """A member registers by the secret only, without federation; values are written as in TOML."""
    env = environment(FAMILY[prefix][0])

    assert (env[f"{prefix}_ALLOW_REGISTRATION"], env[f"{prefix}_REGISTRATION_TOKEN"]) == ("true", "the-token")
    assert env[f"{prefix}_ALLOW_FEDERATION"] == "false"
    assert env[f"{prefix}_TRUSTED_SERVERS"] == "[]"
    asks = "ALLOW_ANNOUNCEMENTS_CHECK" if prefix == "CONTINUWUITY" else "ALLOW_CHECK_FOR_UPDATES"
    assert env[f"{prefix}_{asks}"] == "false"


def test_an_empty_path_tells_conduit_that_it_has_no_file():
    """Conduit wants a configuration file or an empty CONDUIT_CONFIG. Its relatives start without either."""
    assert environment(CONDUIT)["CONDUIT_CONFIG"] == ""
    assert not [name for name in {**environment(TUWUNEL), **environment(CONTINUWUITY)} if name.endswith("_CONFIG")]


def test_only_conduit_chooses_a_database():
    """Conduit has several databases; its relatives have RocksDB only, and no setting for it."""
    assert environment(CONDUIT)["CONDUIT_DATABASE_BACKEND"] == "rocksdb"
    assert "TUWUNEL_DATABASE_BACKEND" not in environment(TUWUNEL)


@pytest.mark.parametrize("prefix", ["TUWUNEL", "CONTINUWUITY"])
def test_the_relatives_append_nothing_to_display_names(prefix):
    """An empty text in quotes takes the place of the symbol that they append by default."""
    assert environment(FAMILY[prefix][0])[f"{prefix}_NEW_USER_DISPLAYNAME_SUFFIX"] == '""'


def test_no_bot_becomes_an_administrator_by_coming_first():
    """On tuwunel the first account gets no rights. Continuwuity makes a first account of its own at its start."""
    assert environment(TUWUNEL)["TUWUNEL_GRANT_ADMIN_TO_FIRST_USER"] == "false"
    env = environment(CONTINUWUITY)
    assert env["CONTINUWUITY_ADMIN_EXECUTE"] == '["users create-user greenroom first-form"]'
    assert env["CONTINUWUITY_ADMIN_EXECUTE_ERRORS_IGNORE"] == "true"  # at a later start the account is there


def test_tuwunel_makes_accounts_by_the_shared_secret():
    """On tuwunel only an account made by the shared secret can be an administrator, so all are made so."""
    assert TUWUNEL.registration is Capability.SHARED_SECRET_REGISTRATION
    assert environment(TUWUNEL)["TUWUNEL_REGISTRATION_SHARED_SECRET"] == "the-token"
    assert Capability.ADMIN_API in TUWUNEL.capabilities


def test_extra_settings_become_variables_and_win():
    """Fields of the global section that `extra` names override ours."""
    env = environment(CONDUIT, extra={"max_request_size": 5, "allow_encryption": False})

    assert (env["CONDUIT_MAX_REQUEST_SIZE"], env["CONDUIT_ALLOW_ENCRYPTION"]) == ("5", "false")


def test_a_room_version_is_a_text_in_quotes():
    """Conduit reads 11 without quotes as a number, and its setting is a text. Without one, its own default applies."""
    assert environment(CONDUIT, room_version="11")["CONDUIT_DEFAULT_ROOM_VERSION"] == '"11"'
    assert "CONDUIT_DEFAULT_ROOM_VERSION" not in environment(CONDUIT)


@pytest.mark.parametrize("prefix", FAMILY)
def test_the_container_runs_without_roots_rights_on_the_data_of_the_one_before_it(prefix, tmp_path):
    """The data of an earlier container goes into the data folder of the next one."""
    (tmp_path / "rocks").mkdir()
    (tmp_path / "rocks" / "CURRENT").write_bytes(b"1")
    kind, folder, port = FAMILY[prefix]

    recipe = kind.recipe("image", HomeserverSettings(), SECRETS, tmp_path)

    assert (recipe.folder, recipe.port) == (folder, port)
    assert recipe.uid != 0
    assert recipe.files == {"rocks/CURRENT": b"1"}


def test_conduits_binary_is_named_and_its_relatives_run_as_their_images_say():
    """Conduit's binary is started without its image's script. The binary of a relative has a place of its own."""
    assert CONDUIT.recipe("image", HomeserverSettings(), SECRETS, NOWHERE).entrypoint == [
        "/usr/local/bin/matrix-conduit"
    ]
    assert TUWUNEL.recipe("image", HomeserverSettings(), SECRETS, NOWHERE).entrypoint == []


def test_its_data_has_a_folder_apart_from_secrets_and_log(tmp_path):
    """A container's data has a folder of its own, so that nothing else goes into the next container."""
    assert ContainerHomeserver(tmp_path, kind=CONDUIT).data_folder == tmp_path / "data"


def test_what_conduit_cannot_do_is_said_with_a_reason():
    """Conduit lacks the admin API, the shared secret and rate limits, and each lack names Conduit."""
    for lack in (Capability.ADMIN_API, Capability.SHARED_SECRET_REGISTRATION, Capability.RATE_LIMITS):
        assert "Conduit" in CONDUIT.missing[lack].reason
        assert "continuwuity" in CONTINUWUITY.missing[lack].reason


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
    server.missing = CONDUIT.missing
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
    """The skip names the capability, why it is missing, and what stands in; any other error fails the test.

    It makes no difference whether the test asks for the capability or one of its fixtures does.
    """
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from greenroom.errors import CapabilityMissing, Unavailable\n"
        "from greenroom.homeserver.conduit import CONDUIT\n"
        "from greenroom.homeserver.interface import Capability, require\n"
        "@pytest.fixture(scope='module')\n"
        "def limited(): require([Capability.RATE_LIMITS], CONDUIT.missing, 'homeserver (conduit, container)')\n"
        "def test_lacks():\n"
        "    raise CapabilityMissing('room upgrades', 'homeserver (conduit, container)', 'old', 'a new one')\n"
        "def test_fixture_lacks(limited): pass\n"
        "def test_fixture_lacks_again(limited): pass\n"
        "def test_broken(): raise Unavailable('x', 'y', 'z')\n"
    )

    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 failed, 3 skipped" in answer.stdout
    cannot = "is not available: homeserver (conduit, container) cannot do it"
    assert f"room upgrades {cannot}: old. Try: a new one" in answer.stdout
    assert f"choosing rate limits {cannot}: Conduit has no rate limits that can be set. Try: " in answer.stdout
