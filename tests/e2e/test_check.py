"""`python -m greenroom_bot check`: the drift between records and server, without touching either."""

from __future__ import annotations

import json
import re

import pytest

from greenroom import must
from tests.e2e.bot_runs import matrix_variables, run_bot
from tests.e2e.scene import devices, lose_database, lose_row, mapping, set_up


@pytest.fixture
async def scene(person, bot):
    """Alice, the running bot, and the Space and chat that it made for her."""
    alice, greenroom = await person("alice"), await bot()
    return alice, greenroom, await set_up(alice, greenroom)


async def test_a_bot_in_step_gives_0_also_while_it_runs(scene):
    """A check beside a running bot without drift counts the rooms for a person and ends with 0."""
    _, greenroom, _ = scene

    checked = await run_bot(matrix_variables(greenroom.env), "check")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "in step; 3 rooms: unchanged 2, skipped 1" in checked.stdout


async def test_drift_gives_1_and_names_each_room(scene):
    """A check that finds drift names each room with its change, changes nothing, and ends with 1."""
    alice, greenroom, rooms = scene
    await greenroom.stop()
    await alice.rename(rooms.chat, "Renamed meanwhile")
    before = mapping(greenroom)

    checked = await run_bot(matrix_variables(greenroom.env), "check", "--json")

    report = json.loads(checked.stdout)
    assert checked.returncode == 1
    assert report["in_step"] is False
    (room,) = report["rooms"]
    assert (room["room_id"], room["outcome"], room["changes"]) == (rooms.chat, "renamed", ["title"])
    assert (room["name"], room["rule"]) == ("Renamed meanwhile", "the room's name changed; the row follows")
    assert mapping(greenroom) == before


async def test_a_lost_row_is_seen_and_left_alone(scene):
    """A check reports a room without a row and does not restore the row: the bot does that at the next message."""
    alice, greenroom, rooms = scene
    await lose_row(alice, greenroom, rooms.chat)

    checked = await run_bot(matrix_variables(greenroom.env), "check")
    after_check = {room for room, *_ in mapping(greenroom)}
    answer = await must.answer(alice, greenroom, rooms.chat, "now?")

    assert checked.returncode == 1
    assert re.search(rf'^  {re.escape(rooms.chat)}  recovered; "[^"]+"$', checked.stdout, re.MULTILINE)  # with its name
    assert after_check == {rooms.space}
    assert answer.body == "now?"


async def test_without_a_saved_session_it_leaves_no_device_behind(scene):
    """A check that finds no saved session logs in with a device of its own, and logs that device out."""
    _, greenroom, _ = scene
    await greenroom.stop()
    lose_database(greenroom)
    before = await devices(greenroom)
    without_session = {"MATRIX_STORE_PATH": str(greenroom.folder / "elsewhere")}

    checked = await run_bot({**matrix_variables(greenroom.env), **without_session}, "check")

    assert checked.returncode == 1
    assert "recovered 2" in checked.stdout
    assert await devices(greenroom) == before


async def test_a_server_that_cannot_be_asked_gives_3(scene):
    """A check that gets no answer from the homeserver says in one line that it cannot tell, and ends with 3."""
    _, greenroom, _ = scene
    nobody_there = {"MATRIX_HOMESERVER": "http://127.0.0.1:9"}

    checked = await run_bot({**matrix_variables(greenroom.env), **nobody_there}, "check")

    assert checked.returncode == 3
    (line,) = checked.stderr.splitlines()
    assert line.startswith("bot: cannot tell: http://127.0.0.1:9 gave no usable answer")
