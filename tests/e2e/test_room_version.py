"""The version of new rooms is a setting of the homeserver, of the plugin, and of the scenarios."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from greenroom.errors import Misuse

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("version", "has_domain"), [("11", True), ("12", False)])
async def test_new_rooms_have_the_version_of_the_settings(person, fresh_homeserver, version, has_domain):
    """Ids of rooms of version 12 have no domain; those of earlier versions have one."""
    server = await fresh_homeserver(room_version=version)
    alice = await person("alice", server=server)

    room, direct = await alice.create_room(), await alice.create_direct((await person("carol", server=server)).user_id)

    for one in (room, direct):
        assert ((await alice.state(one, "m.room.create")) or {})["room_version"] == version
        assert one.endswith(f":{server.server_name}") is has_domain


async def test_an_unknown_version_is_refused_before_anything_starts(fresh_homeserver):
    """Synapse itself would fail only when it starts."""
    with pytest.raises(Misuse, match=r"synapse makes no rooms of version '99'; there are 1, 2, .*, 12$"):
        await fresh_homeserver(room_version="99")


async def test_a_version_that_did_not_take_effect_is_named(fresh_homeserver):
    """Conduit takes its default for a version that it does not know. `extra` stands in for that here."""
    with pytest.raises(Misuse, match="makes rooms of version 10, and cannot make them of version 11"):
        await fresh_homeserver(room_version="11", extra={"default_room_version": "10"})


TESTS = """
import pytest

async def version_on(server, person):
    alice = await person("alice", server=server)
    return ((await alice.state(await alice.create_room(), "m.room.create")) or {})["room_version"]

@pytest.mark.asyncio
async def test_shared(homeserver, person):
    assert await version_on(homeserver, person) == "11"

@pytest.mark.asyncio
async def test_own(fresh_homeserver, person):
    assert await version_on(await fresh_homeserver(), person) == "11"

@pytest.mark.asyncio
async def test_named(fresh_homeserver, person):
    assert await version_on(await fresh_homeserver(room_version="10"), person) == "10"
"""


def test_the_plugin_has_an_option_that_a_setting_of_the_test_overrides(tmp_path, homeserver):
    """The option holds for shared and fresh homeservers. A version that a test names itself wins."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\ngreenroom_room_version = 11\n")
    command = [sys.executable, "-m", "pytest", "-q", "--greenroom-backend", str(homeserver.backend)]

    answer = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "GREENROOM_RUNS_DIR": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert answer.returncode == 0, answer.stdout
    assert "3 passed" in answer.stdout
