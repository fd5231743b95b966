"""What a room of the bot is made from, by the version that it will have."""

from __future__ import annotations

import pytest

from greenroom_bot.rooms.identity import IDENTITY_TYPE
from greenroom_bot.rooms.recipe import OWNER_POWER, default_version, power_levels
from tests.bot.factory import ALICE, ME
from tests.bot.test_provisioning import made, provisioned

LOOKS = ("m.room.name", "m.room.topic", "m.room.avatar")


@pytest.mark.parametrize(
    ("version", "users"),
    [("12", {ALICE: OWNER_POWER}), ("13", {ALICE: OWNER_POWER}), ("11", {ME: 100, ALICE: OWNER_POWER})],
)
def test_the_owner_may_rename_a_room_and_a_guest_may_not(version, users):
    """Names need the owner's power; the creator is listed before version 12 and refused from then on."""
    levels = power_levels(ME, ALICE, version)

    assert levels["users"] == users
    assert [levels["events"][type_] for type_ in LOOKS] == [OWNER_POWER] * 3
    assert levels["events"][IDENTITY_TYPE] == 100
    assert levels.get("users_default", 0) < OWNER_POWER < 50


def test_without_a_known_version_only_the_bot_renames():
    """Without a known version nobody is listed, because either list would be wrong in some version."""
    levels = power_levels(ME, ALICE, None)

    assert "users" not in levels
    assert [levels["events"][type_] for type_ in LOOKS] == [100] * 3


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"capabilities": None}, {"capabilities": {"m.room_versions": []}}, {"capabilities": {}},
        *({"capabilities": {"m.room_versions": {"default": wrong}}}
          for wrong in (12, None, "", "org.matrix.hydra.11", "0", "9" * 5000, "١٢", "12\n")),
    ],
    ids=repr,
)  # fmt: skip
def test_an_odd_answer_about_versions_is_no_version(answer):
    """Only a number in the place that the spec names is a version."""
    assert default_version(answer) is None


@pytest.mark.parametrize("version", ["12", "11"])
async def test_the_version_is_asked_for_once_and_given_to_every_room(server, start, version):
    """The bot asks for the default version before its first room, and asks for it by name in each `createRoom`."""
    server.room_version = version
    await start().live()
    assert server.count("GET /capabilities") == 0

    await provisioned(server, await server.invite())

    assert server.count("GET /capabilities") == 1
    assert [r.body["room_version"] for r in server.requests if r.path == "/createRoom"] == [version] * 2
    for room in made(server):
        assert room.state["m.room.create", ""]["content"]["room_version"] == version
        assert (ME in room.state["m.room.power_levels", ""]["content"]["users"]) is (version == "11")


@pytest.mark.parametrize(("failure", "asked"), [(404, 1), (502, 16)], ids=["unknown endpoint", "fails every time"])
async def test_a_homeserver_that_does_not_say_its_version_gets_rooms_all_the_same(server, start, failure, asked):
    """A room is made without a version if the homeserver does not say one; a passing failure is not kept."""
    server.fail("GET /capabilities", failure, {"errcode": "M_UNRECOGNIZED", "error": "no"}, times=99)
    run = await start().live()

    await provisioned(server, await server.invite())

    assert server.count("GET /capabilities") == asked
    assert run.logged("room_version_unknown")
    for body in (r.body for r in server.requests if r.path == "/createRoom"):
        assert "room_version" not in body
        assert body["power_level_content_override"] == power_levels(ME, ALICE, None)
