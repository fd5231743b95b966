"""The key of a snapshot: equal for equal data, another one for everything that the data follows from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from greenroom.homeserver import Appservice, Backend, HomeserverSettings
from greenroom.homeserver.choose import Choice
from greenroom.homeserver.kind import find_kind
from greenroom.homeserver.settings import FederationSettings
from greenroom.seed.load import parse_blueprint
from greenroom.snapshots import key as keys
from greenroom.snapshots.key import data_settings, hash_of_sources, snapshot_key

CHOICE = Choice(find_kind("synapse"), Backend.PROCESS, "asked for")
SETTINGS = HomeserverSettings(extra={"max_upload_size": "1M"})
TEXT = "{version: 1, name: b, people: [{name: alice}]}"
BLUEPRINT = parse_blueprint(TEXT, "b.yaml")
KEY = snapshot_key(CHOICE, "1.0", SETTINGS, BLUEPRINT)


@pytest.mark.parametrize(
    "other",
    [
        lambda: snapshot_key(replace(CHOICE, kind=find_kind("conduit")), "1.0", SETTINGS, BLUEPRINT),
        lambda: snapshot_key(replace(CHOICE, backend=Backend.CONTAINER), "1.0", SETTINGS, BLUEPRINT),
        lambda: snapshot_key(CHOICE, "1.1", SETTINGS, BLUEPRINT),
        lambda: snapshot_key(CHOICE, "1.0", replace(SETTINGS, server_name="hs2.greenroom.test"), BLUEPRINT),
        lambda: snapshot_key(CHOICE, "1.0", replace(SETTINGS, room_version="11"), BLUEPRINT),
        lambda: snapshot_key(CHOICE, "1.0", replace(SETTINGS, extra={"max_upload_size": "2M"}), BLUEPRINT),
        lambda: snapshot_key(CHOICE, "1.0", SETTINGS, parse_blueprint(TEXT.replace("alice", "bert"), "b.yaml")),
    ],
    ids=["kind", "backend", "version", "server_name", "room_version", "extra", "blueprint"],
)
def test_what_the_data_follows_from_changes_the_key(other):
    """Kind, backend, version, each setting that shows in the data, and the blueprint."""
    assert other() != KEY


@pytest.mark.parametrize("changed", ["seeder", "format"])
def test_another_greenroom_never_finds_old_data(monkeypatch, tmp_path, changed):
    """Changed sources of the seeder, or another format of snapshots, are another key."""
    if changed == "seeder":
        (tmp_path / "seeder.py").write_text("pass\n")
        monkeypatch.setattr(keys, "SOURCES", (*keys.SOURCES, tmp_path / "seeder.py"))
    else:
        monkeypatch.setattr(keys, "FORMAT", keys.FORMAT + 1)

    assert snapshot_key(CHOICE, "1.0", SETTINGS, BLUEPRINT) != KEY


def test_the_sources_that_count_are_there():
    """Each of them has Python files, so that renaming one is noticed."""
    for source in keys.SOURCES:
        assert list(keys._files([source])), source
        assert all(file.exists() for file in keys._files([source])), source


def test_a_change_in_any_source_file_is_another_hash(tmp_path):
    """The text and the name of each file count."""
    (tmp_path / "a.py").write_text("one")
    hashes = {hash_of_sources((tmp_path,))}
    hash_of_sources.cache_clear()
    (tmp_path / "a.py").write_text("two")
    hashes.add(hash_of_sources((tmp_path,)))
    hash_of_sources.cache_clear()
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    hashes.add(hash_of_sources((tmp_path,)))

    assert len(hashes) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 8008},
        {"log_level": "DEBUG"},
        {"rate_limits": "default"},
        {"manners": ("strict",)},
        {"federation": FederationSettings("http://127.0.0.1:1", str(Path("authority.pem")))},
        {"appservices": (Appservice("one", "one"),)},
    ],
)
def test_how_a_homeserver_behaves_does_not_change_the_key(changes):
    """Such settings hold from the start on the data, and seeding does without them."""
    settings = replace(SETTINGS, **changes)

    assert snapshot_key(CHOICE, "1.0", settings, BLUEPRINT) == KEY
    assert data_settings(settings) == data_settings(SETTINGS)


def test_every_setting_is_decided_on():
    """A new field of HomeserverSettings belongs to one of the two tests above."""
    shows = {"server_name", "room_version", "extra"}
    behaves = {"port", "log_level", "rate_limits", "manners", "federation", "appservices"}

    assert shows | behaves == set(HomeserverSettings.__dataclass_fields__)
