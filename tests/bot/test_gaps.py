"""The live loop fills the gaps of limited timelines, and no message in a gap is lost or answered twice."""

from __future__ import annotations

from tests.bot.factory import ALICE, ME, event
from tests.bot.looping import running


async def test_a_limited_timeline_is_filled_in_order(server, client, heard):
    """More messages than one sync carries: the rest is fetched page by page and comes first."""
    chat = server.chat()
    since = f"s{server._now}"
    words = [f"m{n}" for n in range(180)]
    for word in words:
        server.append(chat, event("m.room.message", {"msgtype": "m.text", "body": word}, sender=ALICE))

    await running(server, client, lambda: heard, since=since)

    assert heard == words
    assert server.count("messages") >= 2


async def test_filling_a_gap_stops_at_an_event_that_was_handled(server, client, heard):
    """What is older than a handled event was seen before."""
    chat = server.chat()
    since = f"s{server._now}"
    ids = [await server.say(chat, f"m{n}") for n in range(80)]
    client.was_handled = lambda event_id: event_id == ids[20]

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(21, 80)]


async def test_what_was_said_before_we_joined_is_not_for_us(server, client, heard):
    """History from before our own join is dropped; what came after it is heard."""
    room = server.room("!direct:hs1", creator=ALICE)
    since = f"s{server._now}"
    await server.say(room, "before")
    room.member(ME, "join")
    await server.say(room, "after")

    await running(server, client, lambda: heard, since=since)

    assert heard == ["after"]


async def test_a_gap_reaches_back_to_our_own_join_only(server, client, heard):
    """Many messages since we came in, and some from before."""
    room = server.room("!direct:hs1", creator=ALICE)
    since = f"s{server._now}"
    await server.say(room, "before")
    room.member(ME, "join")
    for number in range(60):
        await server.say(room, f"m{number}")

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(60)]


async def test_a_change_of_our_own_profile_is_no_join(server, client, heard):
    """It is a join event too, after a join."""
    chat = server.chat()
    since = f"s{server._now}"
    await server.say(chat, "before")
    chat.member(ME, "join", displayname="Bot")
    await server.say(chat, "after")

    await running(server, client, lambda: len(heard) == 2, since=since)

    assert heard == ["before", "after"]


async def test_a_gap_that_the_server_refuses_to_tell_does_not_stop_the_bot(server, client, heard, log_lines):
    """We may have been thrown out meanwhile: what the sync itself brought is handled, and the loss is logged."""
    chat = server.chat()
    since = f"s{server._now}"
    for number in range(60):
        await server.say(chat, f"m{number}")
    server.fail("messages", 403, {"errcode": "M_FORBIDDEN"}, times=99)

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(10, 60)]
    assert [line for line in log_lines if line["event"] == "gap_refused"]


async def test_a_gap_that_fails_for_a_while_is_asked_for_again(server, client, heard):
    """No message is skipped because of a 502."""
    chat = server.chat()
    since = f"s{server._now}"
    for number in range(60):
        await server.say(chat, f"m{number}")
    server.fail("messages", 502, times=3)

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(60)]


async def test_a_room_that_is_broken_for_good_does_not_silence_the_others(server, client, heard, log_lines):
    """Its history fails for ever on a homeserver that is well: given up after three rounds, and the loss is logged."""
    chat, other = server.chat(), server.room("!other:hs1", creator=ALICE)
    other.member(ME, "join")
    since = f"s{server._now}"
    for number in range(60):
        await server.say(chat, f"m{number}")
    await server.say(other, "and here?")
    server.fail("messages", 500, times=999)

    await running(server, client, lambda: "and here?" in heard, since=since)

    assert sorted(heard) == sorted([*(f"m{n}" for n in range(10, 60)), "and here?"])
    assert [line["room_id"] for line in log_lines if line["event"] == "gap_refused"] == [chat.room_id]
    assert server.count("messages") == 3 * 8


async def test_a_gap_is_not_given_up_while_the_homeserver_is_away(server, client, heard):
    """However long it takes: as long as nothing else is answered either, the room is not to blame."""
    chat = server.chat()
    since = f"s{server._now}"
    for number in range(60):
        await server.say(chat, f"m{number}")
    server.fail("messages", 502, times=3 * 8 - 1)
    server.fail("whoami", 502, times=50)

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(60)]
