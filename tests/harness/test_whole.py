"""A person's syncs are whole, whatever a homeserver leaves out of them, repeats or cuts off."""

from __future__ import annotations

import asyncio

import pytest

from greenroom.errors import MatrixRefused
from greenroom.people.whole import MOST_EVENTS, Whole

ROOM, ALICE = "!room", "@alice:greenroom.test"
CREATED = {"event_id": "$0", "type": "m.room.create", "state_key": ""}
NAMED = {"event_id": "$n", "type": "m.room.name", "state_key": ""}


def said(*numbers):
    return [{"event_id": f"${number}", "type": "m.room.message"} for number in numbers]


class Server:
    """A homeserver with one room. Its positions are indexes of events; it notes what it is asked for."""

    def __init__(self, events=(), state=()):
        self.events = list(events)
        self.told_state = list(state)
        self.asked = []
        self.hangs = False

    async def state(self, room_id):
        self.asked.append("state")
        if self.hangs:
            await asyncio.Event().wait()
        return self.told_state

    async def page(self, room_id, position):
        self.asked.append(position)
        end = len(self.events) if position is None else int(position)
        begin = max(0, end - 2)
        return self.events[begin:end][::-1], str(begin) if begin else None


def sync(events=(), *, limited=False, before=None, state=(), where="join"):
    timeline = {"events": list(events), "limited": limited, "prev_batch": before}
    return {"rooms": {where: {ROOM: {"state": {"events": list(state)}, "timeline": timeline}}}}


async def completed(whole, body):
    """Complete a sync. Return the ids of its events, in order."""
    await whole.complete(body)
    rooms = body.get("rooms", {})
    room = rooms.get("join", {}).get(ROOM) or rooms["leave"][ROOM]
    return [event["event_id"] for event in room["timeline"]["events"]]


@pytest.mark.parametrize("before", ["7", None], ids=["a position", "no position"])
async def test_a_gap_is_filled_back_to_an_event_that_is_known(before):
    """What came before is asked for page by page, until it contains an event of an earlier sync."""
    server = Server([CREATED, *said(1, 2, 3, 4, 5, 6, 7)])
    whole = Whole(server, ALICE)
    assert await completed(whole, sync([CREATED, *said(1, 2)])) == ["$0", "$1", "$2"]

    assert await completed(whole, sync(said(7), limited=True, before=before)) == ["$3", "$4", "$5", "$6", "$7"]
    assert len(server.asked) == 3  # not back to the beginning


async def test_what_comes_twice_counts_once():
    """In one sync or in two, an event is there once; the timeline of a room that was left is no exception."""
    whole = Whole(Server(), ALICE)
    assert await completed(whole, sync([CREATED, *said(1, 1)])) == ["$0", "$1"]
    assert await completed(whole, sync(said(1, 2))) == ["$2"]
    assert await completed(whole, sync(said(2, 3), where="leave")) == ["$3"]


async def test_an_event_that_comes_again_does_not_end_the_search_for_what_is_missing():
    """A member event that is repeated in front of a message is known, and stands after the gap."""
    server = Server([CREATED, *said(1, 2, 3, 4)])
    whole = Whole(server, ALICE)
    await completed(whole, sync([CREATED, *said(1)]))

    assert await completed(whole, sync(said(1, 4), limited=True, before="4")) == ["$2", "$3", "$4"]


async def test_the_beginning_of_a_room_that_comes_again_does_not_end_the_search_either():
    """The event that created the room is known; so the timeline does not begin with it."""
    server = Server([CREATED, *said(1, 2, 3, 4)])
    whole = Whole(server, ALICE)
    await completed(whole, sync([CREATED, *said(1)]))

    assert await completed(whole, sync([CREATED, *said(1, 4)], limited=True, before="4")) == ["$2", "$3", "$4"]


async def test_a_new_room_without_its_state_gets_it():
    """Without the event that created a room its state is not whole. It is asked for once."""
    server = Server(state=[CREATED, NAMED])
    whole = Whole(server, ALICE)
    body = sync(said(1))

    await whole.complete(body)
    await whole.complete(sync(said(2)))

    assert body["rooms"]["join"][ROOM]["state"]["events"] == [CREATED, NAMED]
    assert server.asked == ["state"]


async def test_a_room_that_was_left_is_new_when_it_is_joined_again():
    """Meanwhile its state may have changed."""
    server = Server(state=[CREATED])
    whole = Whole(server, ALICE)
    for body in (sync(state=[CREATED]), sync(where="leave"), sync(said(1))):
        await whole.complete(body)

    assert server.asked == ["state"]


async def test_a_whole_room_causes_no_request():
    """Nothing is asked for where a sync has everything."""
    server = Server([CREATED, *said(1)])
    await completed(Whole(server, ALICE), sync([CREATED, *said(1)], limited=True, before="0"))
    await completed(Whole(server, ALICE), sync(said(*range(MOST_EVENTS)), state=[CREATED], limited=True))

    assert server.asked == []


async def test_a_new_room_is_read_back_for_its_latest_events():
    """A short timeline of a room that is new is completed to MOST_EVENTS, or to the room's beginning."""
    server = Server([CREATED, *said(*range(1, 2 * MOST_EVENTS))])
    ids = await completed(Whole(server, ALICE), sync(state=[CREATED], limited=True))
    short = await completed(Whole(Server([CREATED, *said(1, 2)]), ALICE), sync(said(2), state=[CREATED], limited=True))

    assert (len(ids), ids[-1]) == (MOST_EVENTS, f"${2 * MOST_EVENTS - 1}")
    assert short == ["$0", "$1", "$2"]


@pytest.mark.parametrize("shown", [True, False])
async def test_a_new_room_is_read_back_to_the_own_join_only(shown):
    """For what came before, a homeserver may have to ask another one, which may be away."""
    join = {"event_id": "$j", "type": "m.room.member", "state_key": ALICE, "content": {"membership": "join"}}
    changed = {**join, "event_id": "$p", "unsigned": {"prev_content": {"membership": "join"}}}
    server = Server([CREATED, *said(1, 2, 3), join, *said(4), changed, *said(5)])
    told = [join, *said(4), changed, *said(5)] if shown else said(5)

    ids = await completed(Whole(server, ALICE), sync(told, state=[CREATED], limited=True))

    assert ids == ["$j", "$4", "$p", "$5"]
    assert len(server.asked) == (0 if shown else 2)


async def test_a_left_room_has_its_parts():
    """matrix-nio raises where one is missing. A room that was left long ago is not read back."""
    server = Server([CREATED, *said(1)])
    body = {"rooms": {"leave": {ROOM: {"timeline": {"limited": True}}, "!other": {}}}}

    await Whole(server, ALICE).complete(body)

    assert body["rooms"]["leave"]["!other"] == {"state": {"events": []}, "timeline": {"events": []}}
    assert server.asked == []


async def test_what_the_homeserver_refuses_is_left_out():
    """Somebody who has left meanwhile may neither read the state nor go back. What the sync brought counts."""

    class Refusing:
        async def state(self, room_id):
            raise MatrixRefused("GET /state", 403, {"errcode": "M_FORBIDDEN"})

        async def page(self, room_id, position):
            raise MatrixRefused("GET /messages", 403, {"errcode": "M_FORBIDDEN"})

    whole = Whole(Refusing(), ALICE)
    assert await completed(whole, sync(said(1), limited=True)) == ["$1"]
    assert await completed(whole, sync(said(2), limited=True)) == ["$2"]


async def test_a_message_to_a_device_is_taken_once():
    """An encrypted one cannot be decrypted twice."""
    whole = Whole(Server(), ALICE)
    one, other = {"type": "m.room.encrypted", "content": {"n": 1}}, {"type": "m.room.encrypted", "content": {"n": 2}}
    bodies = [{"to_device": {"events": events}} for events in ([one], [one, other])]
    for body in bodies:
        await whole.complete(body)

    assert [body["to_device"]["events"] for body in bodies] == [[one], [other]]


async def test_an_invite_that_comes_again_after_the_join_is_none():
    """Once the room was left, an invite counts again, also if it looks the same."""
    whole = Whole(Server(), ALICE)
    bodies = [{"rooms": {"invite": {ROOM: {"invite_state": {"events": [NAMED]}}}}} for _ in range(4)]
    for body in (*bodies[:2], sync([CREATED]), bodies[2], sync(where="leave"), bodies[3]):
        await whole.complete(body)

    assert [len(body["rooms"]["invite"]) for body in bodies] == [1, 1, 0, 1]


async def test_an_answer_whose_completion_was_cancelled_comes_again():
    """Nothing of it is known: the next sync from the same position brings the same."""
    server = Server(state=[CREATED])
    whole = Whole(server, ALICE)
    message = {"type": "m.room.encrypted"}
    server.hangs = True
    task = asyncio.ensure_future(whole.complete({"to_device": {"events": [message]}, **sync(said(1))}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.hangs = False

    again = {"to_device": {"events": [message]}, **sync(said(1))}
    assert await completed(whole, again) == ["$1"]
    assert again["to_device"]["events"] == [message]
