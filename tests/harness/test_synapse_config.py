"""Promises of the configuration that a pure function renders for Synapse."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from greenroom.errors import Misuse
from greenroom.homeserver import RATE_LIMITS, HomeserverSettings
from greenroom.homeserver.settings import FederationSettings, Secrets
from greenroom.homeserver.synapse_config import ROOM_VERSIONS, as_yaml, lifted_limits, synapse_config

SECRETS = Secrets("registration", "macaroon", "form", "ed25519 a_0000 key")


def render(**settings):
    return synapse_config(HomeserverSettings(**settings), SECRETS, folder="/data", port=0)


def test_it_listens_on_loopback_only():
    """A test server listens on loopback, so no other machine can reach it."""
    assert render()["listeners"][0]["bind_addresses"] == ["127.0.0.1"]


def test_identical_syncs_are_never_answered_from_a_cache():
    """Synapse's cache of sync responses is off: for two minutes it would show a restarted bot stale rooms."""
    assert render()["caches"]["sync_response_cache_duration"] == "0s"


def test_it_federates_only_if_it_has_a_way_to_its_peers():
    """With a way to its peers it asks nobody else, and `extra` can restore Synapse's own pauses after a failure."""
    federation = FederationSettings("http://127.0.0.1:1", "/authority.pem")
    alone, federates = render(), render(federation=federation)
    with_pauses = render(federation=federation, extra={"federation": {}})

    assert [one["listeners"][0]["resources"][0]["names"] for one in (alone, federates)] == [
        ["client"],
        ["client", "federation"],
    ]
    assert not {"https_proxy", "federation"} & alone.keys()
    assert (federates["https_proxy"], federates["no_proxy_hosts"]) == ("http://127.0.0.1:1", [])
    assert federates["federation_custom_ca_list"] == ["/authority.pem"]
    assert with_pauses["federation"] == {}


def test_the_server_name_is_the_same_everywhere():
    """The server name is fixed, so user ids in blueprints and documents are right on every server."""
    assert render()["server_name"] == "greenroom.test"


def test_every_rate_limit_is_lifted_by_default():
    """The default configuration lifts every rate limit."""
    assert RATE_LIMITS.items() <= render().items()


def test_every_rate_limit_of_the_installed_synapse_is_known():
    """A newer Synapse with one more limit fails this test: a name read from its source is missing in RATE_LIMITS."""
    spec = find_spec("synapse")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "config/ratelimiting.py").read_text()
    read = set(re.findall(r'config,\s*"(rc_[a-z0-9_]+)', source)) | set(
        re.findall(r'"(rc_[a-z0-9_]+)" in config', source)
    )

    assert len(read) > 15
    assert read <= RATE_LIMITS.keys()


def test_default_limits_are_synapses_own():
    """With `rate_limits="default"` the configuration leaves limits out, so Synapse's defaults apply."""
    assert not RATE_LIMITS.keys() & render(rate_limits="default").keys()


def test_single_limits_can_be_restored_by_name():
    """A limit named in `rate_limits` applies, and no other."""
    rendered = render(rate_limits=["rc_invites"])

    assert "rc_invites" not in rendered
    assert "rc_message" in rendered


def test_an_unknown_limit_is_refused_with_the_known_names():
    """A misspelt limit is refused with the list of known ones."""
    with pytest.raises(Misuse, match="no such rate limit: rc_mesage; there are rc_message"):
        lifted_limits("rc_mesage")


def test_extra_settings_have_the_last_word():
    """`extra` can override every top-level key of Synapse's configuration."""
    assert render(extra={"bcrypt_rounds": 12})["bcrypt_rounds"] == 12


def test_a_room_version_is_that_of_rooms_whose_creator_names_none():
    """Without one, Synapse's own default applies."""
    assert render(room_version="11")["default_room_version"] == "11"
    assert "default_room_version" not in render()


def test_every_room_version_of_the_installed_synapse_is_known():
    """A newer Synapse with one more stable version fails this test: its source names it."""
    rooms = pytest.importorskip("synapse.api.room_versions")

    stable = {name for name in rooms.KNOWN_ROOM_VERSIONS if name.isdecimal()}
    assert stable == set(ROOM_VERSIONS)


def test_the_yaml_says_what_the_data_says():
    """Reading the written YAML returns the same data."""
    assert yaml.safe_load(as_yaml(render())) == render()


def test_secrets_are_fresh_per_server_and_kept_with_it(tmp_path):
    """Two servers share no secret, and a server keeps its secrets in a file that only its owner can read."""
    first, second = Secrets.kept_in(tmp_path / "a.json"), Secrets.kept_in(tmp_path / "b.json")

    assert not set(vars(first).values()) & set(vars(second).values())
    assert Secrets.kept_in(tmp_path / "a.json") == first
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


def test_the_signing_key_is_one_line_as_synapse_reads_it():
    """The signing key is `ed25519 VERSION SEED`, with a seed of 32 bytes in unpadded base64."""
    assert re.fullmatch(r"ed25519 a_[0-9a-f]{4} [A-Za-z0-9+/]{43}", Secrets.fresh().signing_key)
