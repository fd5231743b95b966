"""Interrupted server resets: what they have told, and how the next run finishes the work."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import jsonschema
import pytest

from greenroom_bot.matrix.errors import CredentialsError
from greenroom_reset.errors import Refused
from tests.fake_homeserver import FakeHomeserver
from tests.reset.conftest import (
    BOT,
    LIMITED,
    LOCAL,
    SERVER,
    Shown,
    acknowledged,
    add_room,
    memberships,
    schema,
    start,
    tree,
)

ROOMS = [f"!{number:02}:hs" for number in range(40)]


def limited_after(server: FakeHomeserver, leaves: int) -> None:
    """Make forty rooms; after so many leaves the homeserver asks to wait for longer than a test lasts."""
    for room_id in ROOMS:
        add_room(server, room_id)
    server.when("POST /.*/leave", lambda: None, times=leaves)
    server.fail("POST /.*/leave", 429, LIMITED, times=math.inf)


async def test_a_killed_run_has_printed_exactly_the_acknowledged_rooms_and_the_next_run_finishes(online, server, shown):
    """After SIGKILL the output names the rooms that are gone, and a second run leaves exactly the others."""
    limited_after(server, leaves=25)
    process = await start(online)
    printed = ""
    async with asyncio.timeout(30):
        while "rate limited" not in printed or len(acknowledged(printed)) < 25:
            printed += (await process.stdout.readline()).decode()
        process.kill()
        printed += (await process.stdout.read()).decode()
        await process.wait()
    gone = set(ROOMS) - set(server.rooms)
    server.faults.clear()

    second = await shown.reset(online, SERVER, yes=True)

    assert len(acknowledged(printed)) == len(set(acknowledged(printed))) == 25
    assert set(acknowledged(printed)) == gone
    assert sorted(room.room_id for room in second.server.rooms) == sorted(set(ROOMS) - gone)
    assert {room.state for room in second.server.rooms} == {"done"}
    assert (second.exit_code, server.rooms) == (0, {})


async def test_an_interrupted_run_has_printed_exactly_the_acknowledged_rooms(online, server, shown):
    """Ctrl-C while the run waits: the rooms printed as acknowledged are gone, every other room is as it was."""
    limited_after(server, leaves=10)

    run = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await server.until(lambda: "rate limited" in shown.text.getvalue() and len(acknowledged(shown)) == 10)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert set(acknowledged(shown)) == set(ROOMS) - set(server.rooms)
    assert memberships(server) == {"join": 30}


async def test_a_room_that_a_killed_run_left_but_did_not_forget_is_forgotten_by_the_next(online, server, shown):
    """The listing includes rooms that were left and not forgotten, so the next run needs no record of them."""
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/forget", 429, LIMITED)

    first = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await server.until(lambda: "rate limited" in shown.text.getvalue())
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    half_done = memberships(server)
    server.faults.clear()
    second = await shown.reset(online, SERVER, yes=True)

    assert half_done == {"leave": 1}
    assert [(room.membership, room.state) for room in second.server.rooms] == [("leave", "done")]
    assert server.rooms == {}


async def test_a_session_that_ends_midway_stops_the_run_with_exit_code_4(online, server, shown):
    """When the homeserver ends the session midway, the run stops, with the acknowledged rooms printed."""
    for room_id in ROOMS:
        add_room(server, room_id)
    server.when("POST /rooms/!20:hs/leave", lambda: server.devices.clear())

    with pytest.raises(CredentialsError, match="ended the session midway"):
        await shown.reset(online, SERVER, yes=True)

    assert set(ROOMS) - set(server.rooms) == set(acknowledged(shown)) != set()
    assert server.count("POST /.*/leave") < 40


@pytest.mark.parametrize("modes", [[SERVER], [LOCAL]], ids=" ".join)
@pytest.mark.parametrize("second", [{"yes": True}, {"dry_run": True}], ids=" ".join)
async def test_a_second_reset_is_refused_before_it_does_anything(online, server, bot_state, shown, second, modes):
    """A second reset of the same bot, a dry run too, is refused: it would take the first one's device or session."""
    refused = []

    async def another() -> None:
        with pytest.raises(Refused, match=r"another reset is at work in .+; wait until it has ended"):
            await Shown().reset(online, *modes, **second)
        refused.append((server.count("POST /login"), (bot_state / "bot.db").exists()))

    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/leave", another)

    summary = await shown.reset(online, SERVER, yes=True)

    assert refused == [(1, True)]
    assert summary.exit_code == 0


async def test_a_server_reset_is_refused_while_a_local_one_asks_its_question(online, server, bot_state, shown):
    """A server reset that starts during a local one is refused before it signs in."""
    command = [sys.executable, "-m", "greenroom_reset", "--mode", SERVER, "--yes"]
    seen = []

    def answer() -> str:
        seen.append(subprocess.run(command, env={**os.environ, **online}, capture_output=True, text=True, check=False))
        return "y"

    shown.answer = answer
    summary = await shown.reset(online, LOCAL)

    assert [(second.returncode, second.stdout) for second in seen] == [(2, "")]
    assert re.fullmatch("reset: another reset is at work in .+; wait until it has ended\n", seen[0].stderr)
    assert (summary.exit_code, server.count("")) == (0, 0)


# What is owed to a person in every ending

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def states(document: dict[str, Any]) -> Counter[str]:
    return Counter(room["state"] for room in document["server"]["rooms"])


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_a_run_with_its_summary_and_the_device_signed_out(online, server, number):
    """After Ctrl-C, SIGTERM or SIGHUP the summary tells what is acknowledged, what is not begun, and the cause."""
    limited_after(server, leaves=25)
    process = await start(online)

    await server.until(lambda: server.count("POST /.*/forget") == 25 and server.at_once == 0)
    process.send_signal(number)
    code, out, err = await ended(process)

    assert (code, err) == (1, f"reset: ended by {number.name}. What is done stays done; run this again to finish\n")
    summary = out.partition("\nSummary\n")[2]
    assert summary.startswith(f"  NOT FINISHED: ended by {number.name}\n")
    assert "  of 40 rooms: 15 not begun, 25 acknowledged\n" in summary
    assert "run this again: not everything above is done" in summary
    assert "\x1b" not in out
    assert server.devices == {}


async def test_the_json_of_a_run_that_a_signal_ended_follows_the_schema(online, server):
    """With `--json` the document of an ended run says why it ended and what became of each room."""
    limited_after(server, leaves=25)
    process = await start(online, "--json")

    await server.until(lambda: server.count("POST /.*/forget") == 25 and server.at_once == 0)
    process.send_signal(signal.SIGTERM)
    code, out, _ = await ended(process)
    told = json.loads(out)

    jsonschema.validate(told, schema())
    assert (code, told["exit_code"], told["ended_because"]) == (1, 1, "ended by SIGTERM")
    assert states(told) == {"acknowledged": 25, "not begun": 15}
    gone = {room["room_id"] for room in told["server"]["rooms"] if room["state"] == "acknowledged"}
    assert gone == set(ROOMS) - set(server.rooms)


async def test_a_room_with_a_request_under_way_is_unverified(online, server):
    """A leave without an answer may have had its effect, so its room is neither done nor not begun."""
    add_room(server, "!a:hs")
    server.hold("POST /rooms/!a:hs/leave")
    process = await start(online, "--json")

    await server.until(lambda: server.count("POST /rooms/!a:hs/leave"))
    process.send_signal(signal.SIGTERM)
    _, out, _ = await ended(process)

    assert states(json.loads(out)) == {"unverified": 1}


async def test_a_room_that_is_left_but_not_forgotten_is_unverified(online, server):
    """A run that ends between leaving and forgetting a room does not call it acknowledged."""
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/forget", 429, LIMITED)
    process = await start(online, "--json")

    await server.until(lambda: server.count("POST /rooms/!a:hs/forget") and server.at_once == 0)
    process.send_signal(signal.SIGTERM)
    _, out, _ = await ended(process)

    assert states(json.loads(out)) == {"unverified": 1}


async def test_a_session_that_ends_midway_leaves_a_summary_and_exit_code_4(online, server):
    """When the homeserver ends the session midway, the document tells what was acknowledged before."""
    for room_id in ROOMS:
        add_room(server, room_id)
    server.when("POST /rooms/!20:hs/leave", lambda: server.devices.clear())

    code, out, err = await ended(await start(online, "--json"))
    told = json.loads(out)

    jsonschema.validate(told, schema())
    assert (code, told["exit_code"]) == (4, 4)
    assert told["ended_because"] == "the homeserver ended the session midway (M_UNKNOWN_TOKEN)"
    assert err.splitlines()[-1].startswith("reset: the homeserver ended the session midway")
    assert states(told)["acknowledged"] == len(acknowledged(err)) > 0
    assert states(told)["not begun"] > 0


async def test_a_run_of_both_modes_that_ends_early_keeps_the_files(online, server, bot_state):
    """The summary of an ended run of both modes says that the local files are kept."""
    server.devices["saved"] = "D"
    limited_after(server, leaves=5)
    before = tree(bot_state)
    process = await start(online, "--mode", LOCAL, "--json")

    await server.until(lambda: server.count("POST /.*/forget") == 5 and server.at_once == 0)
    process.send_signal(signal.SIGHUP)
    code, out, _ = await ended(process)

    assert (code, {file["state"] for file in json.loads(out)["local"]}) == (1, {"kept"})
    assert tree(bot_state) == before


async def test_a_run_that_is_ended_before_it_acts_is_one_line(online, server):
    """A signal during the survey leaves nothing to tell but that nothing was changed."""
    add_room(server, "!a:hs")
    server.hold("GET /sync")
    process = await start(online, "--json")

    await server.until(lambda: server.count("GET /sync"))
    process.send_signal(signal.SIGHUP)

    assert await ended(process) == (1, "", "reset: ended by SIGHUP. Nothing was changed\n")
    assert (memberships(server), server.devices) == ({"join": 1}, {})


async def test_under_nohup_a_run_survives_its_terminal(online, server):
    """A process that was started to ignore SIGHUP finishes its work."""
    add_room(server, "!a:hs")
    gate = server.hold("POST /rooms/!a:hs/leave")
    process = await start(online, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))

    await server.until(lambda: server.count("POST /rooms/!a:hs/leave"))
    process.send_signal(signal.SIGHUP)
    gate.set()

    assert (await ended(process))[0] == 0
    assert server.rooms == {}


async def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(online, server):
    """When nobody reads the output any more, the run ends and signs out."""
    add_room(server, "!a:hs")
    gate = server.hold("POST /rooms/!a:hs/leave")
    process = await start(online)

    await server.until(lambda: server.count("POST /rooms/!a:hs/leave"))
    process.stdout._transport.close()  # the pipe's reading end
    gate.set()
    code, _, err = await ended(process)

    assert (code, err) == (1, "reset: [Errno 32] Broken pipe. What is done stays done; run this again to finish\n")
    assert server.devices == {}
    assert BOT not in err
