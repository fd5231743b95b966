"""`python -m greenroom_bot check`: the drift between records and server, without touching either."""

from __future__ import annotations

import json

import pytest

from greenroom.people.matrix_api import MatrixApi, path
from tests.e2e.scene import ask, lose_database, lose_row, mapping, set_up
from tests.e2e.test_bot_failures import run_bot


def matrix(bot) -> dict[str, str]:
    """The variables that the bot was given."""
    return {name: value for name, value in bot.env.items() if name.startswith("MATRIX_")}


@pytest.fixture
async def scene(person, bot):
    """Alice with a Space and a chat, and the bot beside."""
    alice, greenroom = await person("alice"), await bot()
    return alice, greenroom, await set_up(alice, greenroom)


async def devices(bot) -> list[str]:
    """The account's devices, asked with the bot's own session."""
    with open(f"{bot.env['MATRIX_STORE_PATH']}/session.json") as saved:
        token = json.load(saved)["access_token"]
    async with MatrixApi(bot.env["MATRIX_HOMESERVER"]) as api:
        return sorted(d["device_id"] for d in (await api.call("GET", path("devices"), token=token))["devices"])


async def test_a_bot_in_step_gives_0_also_while_it_runs(scene):
    """Text for a person, and nothing is changed."""
    _, greenroom, _ = scene

    checked = await run_bot(matrix(greenroom), "check")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "in step; 3 rooms: unchanged 2, skipped 1" in checked.stdout


async def test_drift_gives_1_and_names_each_room(scene):
    """The plan of the next start, shown and not carried out."""
    alice, greenroom, rooms = scene
    await greenroom.stop()
    await alice.rename(rooms.chat, "Renamed meanwhile")
    before = mapping(greenroom)

    checked = await run_bot(matrix(greenroom), "check", "--json")

    report = json.loads(checked.stdout)
    assert checked.returncode == 1
    assert report["in_step"] is False
    assert report["rooms"] == [{"room_id": rooms.chat, "outcome": "renamed", "changes": ["title"]}]
    assert mapping(greenroom) == before


async def test_a_lost_row_is_seen_and_left_alone(scene):
    """Recovering is the bot's business, at its start or at the next message."""
    alice, greenroom, rooms = scene
    await lose_row(alice, greenroom, rooms.chat)

    checked = await run_bot(matrix(greenroom), "check")

    assert checked.returncode == 1
    assert f"{rooms.chat}  recovered" in checked.stdout
    assert rooms.chat not in {room for room, *_ in mapping(greenroom)}
    assert (await ask(alice, greenroom, rooms.chat, "now?")).body == "now?"


async def test_without_a_saved_session_it_leaves_no_device_behind(scene):
    """A device made for the check is logged out at its end."""
    _, greenroom, _ = scene
    await greenroom.stop()
    lose_database(greenroom)
    before = await devices(greenroom)

    checked = await run_bot({**matrix(greenroom), "MATRIX_STORE_PATH": str(greenroom.folder / "elsewhere")}, "check")

    assert checked.returncode == 1
    assert "recovered 2" in checked.stdout
    assert await devices(greenroom) == before


async def test_a_server_that_cannot_be_asked_gives_3(scene):
    """Could not tell is neither in step nor drift."""
    _, greenroom, _ = scene

    checked = await run_bot({**matrix(greenroom), "MATRIX_HOMESERVER": "http://127.0.0.1:9"}, "check")

    assert checked.returncode == 3
    assert checked.stderr.startswith("bot: cannot tell: http://127.0.0.1:9 gave no usable answer")
    assert len(checked.stderr.splitlines()) == 1
