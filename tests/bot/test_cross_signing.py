"""The bot signs its device where the account has no cross-signing keys yet, and says what it did."""

from __future__ import annotations

import pytest
import vodozemac
from nio import Api

from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.cross_signing import KEYS_FILE, sign_own_device
from greenroom_bot.matrix.sync import LiveClient
from tests.bot.factory import ME
from tests.fake_homeserver import PASSWORD


@pytest.fixture
def credentials(server, tmp_path):
    return Credentials(server.url, ME, PASSWORD, None, tmp_path)


def verify(public: str, content: dict, signer: str) -> None:
    """Raise unless `content` bears a valid signature of the key called `signer`."""
    signature = vodozemac.Ed25519Signature.from_base64(content["signatures"][ME][f"ed25519:{signer}"])
    bare = {key: value for key, value in content.items() if key not in ("signatures", "unsigned")}
    vodozemac.Ed25519PublicKey.from_base64(public).verify_signature(Api.to_canonical_json(bare).encode(), signature)


def public_of(key: dict) -> str:
    ((_, public),) = key["keys"].items()
    return public


def foreign_keys(device: str) -> dict:
    """Return the master key of an account as a client on that device has made it."""
    signatures = {ME: {f"ed25519:{device}": "a signature"}}
    master = {"user_id": ME, "usage": ["master"], "keys": {"ed25519:OTHER": "OTHER"}, "signatures": signatures}
    return {"master_key": master}


async def test_the_first_start_makes_the_accounts_keys_and_signs_the_device(server, client, credentials, log_lines):
    """Master signs self-signing, self-signing signs the device, the device signs master."""
    await client.upload_keys()

    await sign_own_device(client, credentials)

    master, self_signing, user_signing = (
        server.keys.signing[f"{usage}_key"] for usage in ("master", "self_signing", "user_signing")
    )
    device = server.keys.signatures["DEVICE"]
    for key in (self_signing, user_signing):
        verify(public_of(master), key, public_of(master))
    verify(public_of(self_signing), device, public_of(self_signing))
    verify(device["keys"]["ed25519:DEVICE"], server.keys.signatures[public_of(master)], "DEVICE")
    assert device["keys"] == server.keys.devices["DEVICE"]["keys"]
    assert [line["event"] for line in log_lines if "signed" in line["event"]] == ["device_signed"]
    assert (credentials.store_path / KEYS_FILE).stat().st_mode & 0o777 == 0o600


async def test_a_signed_device_asks_nothing_at_the_next_start(server, client, credentials):
    """It is written down."""
    await client.upload_keys()
    await sign_own_device(client, credentials)
    before = len(server.requests)

    await sign_own_device(client, credentials)

    assert len(server.requests) == before


@pytest.mark.parametrize("step", ["device_signing/upload", "signatures/upload"])
async def test_an_interrupted_signing_is_finished_with_the_same_keys(server, client, credentials, log_lines, step):
    """The keys are saved first; else the account would keep public keys whose private halves nobody has."""
    await client.upload_keys()
    server.fail("device_signing/upload", 401, {"session": "s", "flows": []})
    server.fail(step, 502, after=True)
    await sign_own_device(client, credentials)
    made = dict(server.keys.signing)

    await sign_own_device(client, credentials)

    signed = [line["event"] for line in log_lines if "signed" in line["event"]]
    assert signed == ["device_not_signed", "device_signed"]
    assert server.keys.signing == made
    assert "DEVICE" in server.keys.signatures


async def test_a_new_device_of_the_same_store_is_signed_by_the_same_keys(server, client, credentials, tmp_path):
    """Lost encryption keys cost the trust of nobody."""
    await client.upload_keys()
    await sign_own_device(client, credentials)
    made = dict(server.keys.signing)
    server.devices["other"] = "OTHER"
    second = LiveClient(server.url, ME, store_path=str(tmp_path))
    second.restore_login(ME, "OTHER", "other")
    await second.upload_keys()

    await sign_own_device(second, credentials)
    await second.close()

    assert server.keys.signing == made
    assert server.keys.signatures.keys() >= {"DEVICE", "OTHER"}


async def test_keys_of_another_client_are_left_alone(server, client, credentials, log_lines):
    """A person has set the account up in a client of their own."""
    await client.upload_keys()
    theirs = foreign_keys("ELEMENT")
    server.keys.signing = dict(theirs)

    await sign_own_device(client, credentials)

    (line,) = (line for line in log_lines if line["event"] == "device_not_signed")
    assert "keys of another client" in line["why"]
    assert server.keys.signing == theirs
    assert server.count("signing|signatures") == 0


async def test_keys_of_a_lost_store_of_the_bot_are_made_anew(server, client, credentials, log_lines):
    """A local reset deletes them. Without new ones no later device of the bot could ever be signed."""
    await client.upload_keys()
    lost = foreign_keys("GREENROOMABCDEFGH")
    server.keys.signing = dict(lost)

    await sign_own_device(client, credentials)

    assert [line["event"] for line in log_lines if "signed" in line["event"]] == ["device_signed"]
    assert public_of(server.keys.signing["master_key"]) != public_of(lost["master_key"])
    assert "DEVICE" in server.keys.signatures


async def test_without_the_password_that_is_asked_for_the_device_stays_unsigned(server, client, credentials, log_lines):
    """Homeservers may ask for it; then the log says what is missing."""
    await client.upload_keys()
    by_token = Credentials(server.url, ME, None, "token", credentials.store_path)

    await sign_own_device(client, by_token)

    (line,) = (line for line in log_lines if line["event"] == "device_not_signed")
    assert "MATRIX_PASSWORD is not set" in line["why"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": 5}', '{"keys": {"master": "x"}, "signed_device": "D"}'])
async def test_a_garbled_key_file_is_none(server, client, credentials, content):
    """Then the bot makes new keys, unless the account has some."""
    (credentials.store_path / KEYS_FILE).write_text(content)
    await client.upload_keys()

    await sign_own_device(client, credentials)

    assert "DEVICE" in server.keys.signatures
