"""What a server reset tells of an account, on a real Synapse: whose doing a membership was, which devices it has."""

from __future__ import annotations

from typing import Any

from greenroom.faults.manners import names_of
from greenroom.people.matrix_api import MatrixApi, path
from tests.e2e.reset_runs import SERVER, hermit_on, run_reset, saved_token
from tests.e2e.scene import set_up

UNKNOWN = "forget (left, kicked, banned or forgotten already: not known)"


async def test_whose_doing_a_membership_was_is_told(homeserver, person, tmp_path):
    """A ban and a kick are not called a leave, an invite names who invited, and a knock who made the room."""
    alice = await person("alice")
    async with hermit_on(homeserver, tmp_path) as hermit:
        bot, api = hermit.account, hermit.api

        async def call(token: str, *parts: str, **body: object) -> dict[str, Any]:
            return await api.call("POST", path(*parts), token=token, json=body)

        async def room(**more: object) -> str:
            return str((await call(alice.client.access_token, "createRoom", **more))["room_id"])

        knock_rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        rooms = {how: await room(preset="public_chat") for how in ("kick", "ban")}
        rooms |= {"invite": await room(invite=[bot.user_id]), "knock": await room(initial_state=[knock_rule])}
        for how in ("kick", "ban"):
            await call(bot.access_token, "rooms", rooms[how], "join")
            await call(alice.client.access_token, "rooms", rooms[how], how, user_id=bot.user_id)
        await call(bot.access_token, "knock", rooms["knock"])

        ran = await run_reset(hermit.env, *SERVER, "--yes")

    assert ran.code == 0, ran.told
    told = {room["room_id"]: room for room in ran.summary["server"]["rooms"]}
    # An account may not read the state of a room that it is banned from: only a sync can tell of a ban.
    silent = "left-rooms-without-state" in names_of(homeserver.manners)
    banned = (UNKNOWN, "unknown") if silent else ("forget (banned)", "banned")
    assert {how: (told[room_id]["action"], told[room_id]["how"]) for how, room_id in rooms.items()} == {
        "kick": ("forget (kicked)", "kicked"),
        "ban": banned,
        "invite": ("decline and forget", "invited"),
        "knock": ("withdraw and forget", "made"),
    }
    assert {room["by"] for room in told.values() if room["how"] != "unknown"} == {alice.user_id}


async def test_the_device_of_a_killed_run_is_signed_out_by_the_next(person, bot):
    """A run with the bot's saved session takes the leftover device over by password and logs it out."""
    alice, greenroom = await person("alice"), await bot()
    await set_up(alice, greenroom)
    await greenroom.stop()
    async with MatrixApi(greenroom.env["MATRIX_HOMESERVER"]) as api:
        credentials = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": greenroom.user_id},
            "password": greenroom.env["MATRIX_PASSWORD"],
            "device_id": "GREENROOM_RESET",
        }
        await api.call("POST", path("login"), json=credentials)

        ran = await run_reset(greenroom.env, *SERVER, "--yes")

        assert ran.code == 0, ran.told
        assert any("of a killed run is still signed in" in note for note in ran.summary["notes"])
        devices = (await api.call("GET", path("devices"), token=saved_token(greenroom)))["devices"]
        assert "GREENROOM_RESET" not in {device["device_id"] for device in devices}
