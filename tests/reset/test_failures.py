"""Requests that fail, lie or are limited during a server reset: only what the server confirmed is called done."""

from __future__ import annotations

import math

import pytest

from greenroom_bot.matrix.errors import MatrixError
from greenroom_reset.summary import document, summary_lines
from tests.reset.conftest import (
    ALICE,
    BOT,
    FORBIDDEN,
    LIMITED,
    SERVER,
    Shown,
    acknowledged,
    add_room,
    event,
    joined,
    room_of,
)


@pytest.mark.parametrize(
    ("answer", "status", "errcode"),
    [((502,), 502, None), ((200,), 200, None), ((403, FORBIDDEN), 403, "M_FORBIDDEN"), ((None,), None, None)],
    ids=["page", "page with 200", "refusal", "no answer"],
)
async def test_a_room_that_could_not_be_left_is_never_reported_as_left(online, server, shown, answer, status, errcode):
    """Without an acknowledgement a room is failed, the other rooms are done, and the next run completes the work."""
    for room in ("!a:hs", "!bad:hs", "!z:hs"):
        add_room(server, room)
    server.fail("POST /rooms/!bad:hs/leave", *answer, times=math.inf)

    first = await shown.reset(online, SERVER, yes=True)
    server.faults.clear()
    second = await Shown().reset(online, SERVER, yes=True)

    (bad,) = [room for room in document(first)["server"]["rooms"] if room["room_id"] == "!bad:hs"]
    assert (bad["state"], bad["still"]) == ("failed", "join")
    assert bad["error"]["http_status"] == status
    assert bad["error"]["errcode"] == errcode
    assert not any("!bad:hs" in line and "done" in line for line in summary_lines(first))
    assert first.exit_code == 1
    assert first.server.count("done") == 2
    assert second.exit_code == 0
    assert [room.room_id for room in second.server.rooms] == ["!bad:hs"]
    assert server.rooms == {}


async def test_a_room_left_but_not_forgotten_is_not_done(online, server, shown):
    """The closing listing shows a room that is left but not forgotten, and the next run only forgets it."""
    add_room(server, "!bad:hs")
    server.fail("POST /rooms/!bad:hs/forget", times=math.inf)

    first = await shown.reset(online, SERVER, yes=True)
    server.faults.clear()
    server.requests.clear()
    second = await shown.reset(online, SERVER, yes=True)

    assert (room_of(first, "!bad:hs").state, room_of(first, "!bad:hs").still) == ("failed", "leave")
    assert first.exit_code == 1
    assert second.exit_code == 0
    assert server.paths(writes_only=True) == ["POST /rooms/!bad:hs/forget"]


async def test_where_the_server_does_not_list_left_rooms_an_unacknowledged_forget_is_not_done(online, server, shown):
    """A room that the listing lacks is still failed if its forget was not acknowledged."""
    add_room(server, "!bad:hs")
    server.absent.add("!bad:hs")
    server.fail("POST /rooms/!bad:hs/forget", times=math.inf)

    summary = await shown.reset(online, SERVER, yes=True)

    assert (room_of(summary, "!bad:hs").state, room_of(summary, "!bad:hs").still) == ("failed", None)


async def test_an_acknowledged_leave_that_the_server_does_not_show_is_not_done(online, server, shown):
    """A room that the closing listing still has is failed, although the server answered 200."""
    add_room(server, "!liar:hs")
    server.fail("POST /rooms/!liar:hs/", 200, {}, times=math.inf)

    summary = await shown.reset(online, SERVER, yes=True)

    assert (room_of(summary, "!liar:hs").state, room_of(summary, "!liar:hs").still) == ("failed", "join")
    assert summary.exit_code == 1


async def test_without_a_closing_listing_nothing_is_claimed(online, server, bot_state, shown):
    """If the rooms cannot be listed again, all of them are unverified, until the next run finds nothing left to do."""
    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/leave", lambda: server.fail("GET /sync", times=math.inf))

    first = await shown.reset(online, SERVER, yes=True)
    server.faults.clear()
    second = await shown.reset(online, SERVER, yes=True)

    assert room_of(first, "!a:hs").state == "unverified"
    assert "502" in first.server.unverified_because
    assert first.exit_code == 1
    assert acknowledged(shown) == ["!a:hs"]
    assert (second.server.rooms, second.exit_code) == ([], 0)


async def test_a_session_that_ends_before_the_closing_listing_leaves_every_room_unverified(online, server, shown):
    """If the session ends after the last room, the summary says that nothing could be confirmed."""
    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/forget", lambda: server.when("GET /joined_rooms", lambda: server.devices.clear()))

    summary = await shown.reset(online, SERVER, yes=True)

    assert room_of(summary, "!a:hs").state == "unverified"
    assert "our session is over" in summary.server.unverified_because
    assert summary.exit_code == 1


async def test_an_answer_that_is_no_listing_confirms_nothing(online, server, shown):
    """A proxy's empty object instead of a listing leaves every room unverified."""
    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/leave", lambda: server.fail("", 200, {}, times=math.inf))

    summary = await shown.reset(online, SERVER, yes=True)

    assert room_of(summary, "!a:hs").state == "unverified"
    assert "no list of room ids" in summary.server.unverified_because
    assert summary.exit_code == 1


async def test_a_closing_listing_that_contradicts_itself_confirms_nothing(online, server, shown):
    """If the full sync lacks a room that `joined_rooms` has, rooms that both lack are unverified."""
    add_room(server, "!a:hs")
    add_room(server, "!kept:hs")
    server.fail("POST /rooms/!kept:hs/leave", 403, FORBIDDEN, times=math.inf)
    server.when("POST /rooms/!a:hs/leave", lambda: server.absent.add("!kept:hs"))

    summary = await shown.reset(online, SERVER, yes=True)

    assert room_of(summary, "!a:hs").state == "unverified"
    assert (room_of(summary, "!kept:hs").state, room_of(summary, "!kept:hs").still) == ("failed", "join")
    assert "the full sync lacks 1 room of joined_rooms" in "\n".join(summary_lines(summary))
    assert summary.exit_code == 1


async def test_a_survey_that_contradicts_itself_says_so_and_takes_every_room(online, server, shown):
    """A room that only `joined_rooms` has is left too; a note says that the plan may lack others."""
    add_room(server, "!seen:hs")
    add_room(server, "!unseen:hs")
    server.absent.add("!unseen:hs")

    summary = await shown.reset(online, SERVER, yes=True)

    assert {room.room_id: room.state for room in summary.server.rooms} == {"!seen:hs": "done", "!unseen:hs": "done"}
    note = (
        "Note: the full sync lacks 1 room of joined_rooms, so it may lack others too; such rooms are not in this plan"
    )
    assert note in shown.text.getvalue()


async def test_a_room_whose_id_fits_in_no_url_does_not_stop_the_rest(online, server, shown):
    """JSON can hold half a surrogate pair in a room id and a URL cannot: that room fails, the others are done."""
    add_room(server, "!\ud800:hs")
    add_room(server, "!good:hs")

    summary = await shown.reset(online, SERVER, yes=True)

    assert room_of(summary, "!good:hs").state == "done"
    assert (room_of(summary, "!\ud800:hs").state, summary.exit_code) == ("failed", 1)


async def test_only_rooms_that_the_bot_has_left_are_said_to_be_administered_by_nobody(online, server, shown):
    """The summary names rooms without an administrator only if the bot has left them, or in a dry run would do so."""
    for room_id in ("!kept:hs", "!left:hs"):
        add_room(server, room_id, "join", event("m.room.power_levels", {"users": {BOT: 100}}), joined(ALICE))
    server.fail("POST /rooms/!kept:hs/leave", 403, FORBIDDEN, times=math.inf)

    dry = await shown.reset(online, SERVER, dry_run=True)
    real = await shown.reset(online, SERVER, yes=True)

    assert "rooms that would still have members but no administrator: 2" in "\n".join(summary_lines(dry))
    assert "rooms that still have members but no administrator: 1" in "\n".join(summary_lines(real))
    told = {room["room_id"]: room["administered_by_nobody"] for room in document(real)["server"]["rooms"]}
    assert told == {"!kept:hs": False, "!left:hs": True}


async def test_rooms_that_arrive_meanwhile_are_reported(online, server, shown):
    """An invite that arrives during the run is reported, and the exit code is 1."""
    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/leave", lambda: add_room(server, "!new:hs", "invite"))

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.server.arrived == {"!new:hs": "invite"}
    assert summary.server.count("done") == 1
    assert summary.exit_code == 1


async def test_a_server_that_goes_away_is_one_line(online, shown):
    """An unreachable homeserver is a one-line error."""
    with pytest.raises(MatrixError, match="no answer") as error:
        await shown.reset({**online, "MATRIX_HOMESERVER": "http://127.0.0.1:1"}, SERVER, yes=True)

    assert error.value.status is None
    assert "\n" not in str(error.value)


async def test_a_connection_that_was_closed_during_the_question_costs_no_room(online, server, shown):
    """The first request after the confirmation is a read, so a closed connection fails no write."""
    add_room(server, "!a:hs")
    server.when("GET /sync", lambda: server.fail("", None))

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert [fault.times for fault in server.faults] == [0, 0]


async def test_rate_limits_are_waited_out_one_at_a_time(online, server, shown):
    """Before each wait for a rate limit the screen shows it with the time left, and every room is done in the end."""
    for number in range(6):
        add_room(server, f"!{number}:hs")
        limited = {**LIMITED, "retry_after_ms": 5}
        server.fail(f"POST /rooms/!{number}:hs/leave", 429, limited, times=2 if number == 0 else 1)

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert "rate limited: waiting 0.1 s, about " in shown.text.getvalue()


@pytest.mark.parametrize("limited", ["whoami", "capabilities", "joined_rooms", "sync"])
async def test_a_rate_limit_on_looking_is_waited_out_too(online, server, bot_state, shown, limited):
    """A rate limit on any request of the survey or the verification is waited out."""
    server.devices["saved"] = "D"
    add_room(server, "!a:hs")
    for _ in range(2):  # the first of two requests each time
        server.fail(f"GET /.*{limited}$", 429, {**LIMITED, "retry_after_ms": 1})
        server.when(f"GET /.*{limited}$", lambda: None)

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert "rate limited" in shown.text.getvalue()
