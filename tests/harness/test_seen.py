"""What a person has seen: one order for the events of all rooms."""

from __future__ import annotations

import nio

from greenroom import checks
from greenroom.people.seen import Seen

ALICE, BOT = "@alice:greenroom.test", "@bot:greenroom.test"


def message(event_id: str, sender: str, at_ms: int, body: str) -> dict:
    """Return a message as a server tells it."""
    content = {"msgtype": "m.text", "body": body}
    parts = {"event_id": event_id, "sender": sender, "origin_server_ts": at_ms, "content": content}
    return {"type": "m.room.message", **parts}


def sync(**rooms: list[dict]) -> nio.SyncResponse:
    """Return an answer to /sync with one timeline for each room, in that order."""
    timelines = {
        f"!{name}": {"timeline": {"events": events, "limited": False, "prev_batch": ""}, "state": {"events": []}}
        for name, events in rooms.items()
    }
    answer = nio.SyncResponse.from_dict({"next_batch": "s1", "rooms": {"join": timelines}})
    assert isinstance(answer, nio.SyncResponse)
    return answer


def test_an_answer_in_another_room_comes_after_its_question_though_the_sync_lists_that_room_first():
    """A sync has no order between rooms; the events' times have one. In one millisecond the own event is first."""
    for answered_at in (1002, 1001):
        seen = Seen(ALICE)

        seen.take(
            sync(
                a=[message("$0", BOT, 1000, "before"), message("$2", BOT, answered_at, "two")],
                b=[message("$1", ALICE, 1001, "!echo two")],
            )
        )

        found = checks.answer("two", sender=BOT, after="$1")(seen)
        assert getattr(found, "event_id", found) == "$2"
        assert [event.event_id for event in seen.timeline] == ["$0", "$1", "$2"]


def test_the_order_of_one_room_is_the_servers_whatever_the_clocks_say():
    """Events of another homeserver may carry any time."""
    seen = Seen(ALICE)

    seen.take(sync(a=[message("$1", BOT, 2000, "one"), message("$2", ALICE, 1000, "two")]))

    assert [event.event_id for event in seen.timeline] == ["$1", "$2"]
