"""Dendrite's configuration and signing key. Nobody has tried them on a Dendrite yet."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.dendrite import DENDRITE, dendrite_config, signing_key_pem
from greenroom.homeserver.settings import Secrets

SECRETS = Secrets.fresh()
NOWHERE = Path("/nowhere")


def test_a_fresh_key_becomes_dendrites_pem_without_dendrites_tool():
    """The PEM names the key and holds its seed of 32 bytes, in padded Base64."""
    begin, key_id, empty, seed, end = signing_key_pem(SECRETS.signing_key).splitlines()

    assert (begin, end) == ("-----BEGIN MATRIX PRIVATE KEY-----", "-----END MATRIX PRIVATE KEY-----")
    assert key_id == f"Key-ID: ed25519:{SECRETS.signing_key.split()[1]}"
    assert empty == ""
    assert len(base64.b64decode(seed, validate=True)) == 32
    Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed))


def test_configuration_and_key_lie_where_the_command_and_the_configuration_say():
    """The command names the configuration, the configuration names the key, and both files go in."""
    recipe = DENDRITE.recipe("image", HomeserverSettings(), SECRETS, NOWHERE)

    config = yaml.safe_load(recipe.files["dendrite.yaml"])
    assert recipe.command[:2] == ["-config", "/greenroom/dendrite.yaml"]
    assert config["global"]["private_key"] == "/greenroom/matrix_key.pem"
    assert recipe.files["matrix_key.pem"].decode() == signing_key_pem(SECRETS.signing_key)
    assert (recipe.port, recipe.uid != 0) == (8008, True)


def test_every_component_has_an_sqlite_database_of_its_own_in_the_folder():
    """No database server is needed, and no two components share a file."""
    config = dendrite_config(HomeserverSettings(), SECRETS)

    sections = [section for section in config.values() if isinstance(section, dict)]
    databases = [s["database"] for s in sections if "database" in s] + [config["user_api"]["account_database"]]
    files = {one["connection_string"] for one in databases}
    assert len(files) == len(databases) == 8
    assert all(file.startswith("file:/greenroom/") for file in files)


def test_the_shared_secret_is_the_only_way_in_and_nobody_else_is_talked_to():
    """Registration is closed but for the shared secret; no federation, no statistics, no key servers, no limits."""
    config = dendrite_config(HomeserverSettings(), SECRETS)

    assert config["client_api"] == {
        "registration_disabled": True,
        "registration_shared_secret": SECRETS.registration_shared_secret,
        "rate_limiting": {"enabled": False},
    }
    assert config["global"]["disable_federation"] is True
    assert config["global"]["report_stats"] == {"enabled": False}
    assert config["federation_api"]["key_perspectives"] == []


def test_extra_fields_win_and_leave_the_other_fields_of_their_section():
    """`extra` holds sections; what they do not name stays as it is."""
    limited = {"client_api": {"rate_limiting": {"enabled": True}}, "tracing": {"enabled": False}}

    config = dendrite_config(HomeserverSettings(extra=limited, room_version="11"), SECRETS)

    assert config["client_api"]["rate_limiting"] == {"enabled": True}
    assert config["client_api"]["registration_disabled"] is True
    assert config["tracing"] == {"enabled": False}
    assert config["room_server"]["default_room_version"] == "11"


def test_the_data_of_an_earlier_container_goes_in_again_with_a_new_configuration(tmp_path):
    """What an earlier container left is kept, except for the files that are rendered anew."""
    (tmp_path / "room_server.db").write_bytes(b"rooms")
    (tmp_path / "dendrite.yaml").write_bytes(b"old")

    files = DENDRITE.recipe("image", HomeserverSettings(), SECRETS, tmp_path).files

    assert files["room_server.db"] == b"rooms"
    assert files["dendrite.yaml"] != b"old"
