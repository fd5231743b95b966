"""Look at rooms on the homeserver and bring their rows in line. Chats and reconciliation both stand on this."""

from __future__ import annotations

from collections.abc import Mapping

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_bot.matrix.retry import until_blamed
from greenroom_bot.rooms.planner import Plan, RoomOutcome, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import StateStore
from greenroom_bot.rooms.view import ServerView, room_view


async def look_at_room(
    client: Client, store: StateStore, room_id: RoomId, *, instance: str, direct: Mapping[RoomId, UserId]
) -> RoomOutcome:
    """Fetch one room's state, judge the room, write its row, and return the verdict.

    One request, repeated for some minutes. Raises MatrixError if the homeserver does not answer it for this room.
    """
    state = await until_blamed("room state", lambda: client.room_state(room_id), client.well)
    room = room_view(room_id, state, client.user_id, default="leave")
    joined = frozenset({room_id, *client.rooms})
    view = ServerView(client.user_id, {room_id: room}, joined, direct, complete=False)
    rows, interrupted = store.rooms(), [intent.request for intent in store.intents()]
    decided = plan(view, rows, instance=instance, interrupted=interrupted)
    write_plan(client, store, view, rows, decided)
    (verdict,) = decided.outcomes
    return verdict


def write_plan(
    client: Client, store: StateStore, view: ServerView, rows: Mapping[RoomId, RoomRow], decided: Plan
) -> None:
    """Write a plan's rows, and tell nio which rooms there are. `rows` are those that the plan was made from."""
    store.write_rooms(decided.rows)
    rows = {**rows, **{row.room_id: row for row in decided.rows}}
    joined = {room.room_id for room in view.rooms.values() if room.membership == "join"}
    if view.complete and view.joined:
        joined |= view.joined & rows.keys()
    for room_id in joined:
        room, row = view.rooms.get(room_id), rows.get(room_id)
        # Encryption is never switched off, so it also holds where the view leaves it out.
        client.know_room(room_id, encrypted=bool((room and room.encrypted) or (row and row.encrypted)))
