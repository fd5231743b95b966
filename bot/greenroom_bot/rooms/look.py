"""Judging rooms and writing what was decided: shared by start-up, by one room at runtime, and by a room just made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from greenroom_bot.matrix.client import Ask, Client, room_states
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_bot.rooms.planner import Plan, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import StateStore
from greenroom_bot.rooms.view import RoomView, ServerView, room_view


async def look_at_room(
    client: Client, store: StateStore, room_id: RoomId, *, instance: str, direct: Mapping[RoomId, UserId]
) -> tuple[RoomView, Plan]:
    """Fetch one room's state, judge the room and write its row; return what was seen and decided.

    Raises MatrixError when the state cannot be had, after some minutes if only this room fails.
    """
    state = await client.sure_room_state(room_id)
    me = UserId(client.user_id)
    room = room_view(room_id, state, me, default="leave")
    view = ServerView(me, {room_id: room}, frozenset({room_id, *client.rooms}), direct, complete=False)
    rows = store.rooms()
    decided = plan(view, rows, instance=instance, interrupted=[intent.request for intent in store.intents()])
    carry_out(client, store, view, decided, rows)
    return room, decided


async def with_left_rooms(view: ServerView, rows: Mapping[RoomId, RoomRow], ask: Ask) -> ServerView:
    """Return the view with the left rooms of which the sync told no state: some homeservers leave it out.

    Only those are read whose row is not `left` yet; without any rows all, since the records may be lost. Without its
    state nobody knows which chat a room was. Raises SessionOver.
    """
    lacking = [
        room_id
        for room_id, room in view.rooms.items()
        if room.membership == "leave"
        and not room.created_by
        and (rows[room_id].status != "left" if room_id in rows else not rows)
    ]
    return replace(view, rooms={**view.rooms, **await read_rooms(view.me, lacking, frozenset(), ask)})


async def read_rooms(me: UserId, rooms: Iterable[RoomId], joined: Set[RoomId], ask: Ask) -> dict[RoomId, RoomView]:
    """Return rooms as their state is now, or was when we left, without those that cannot be read or were not left."""
    read = {}
    for room_id, state in (await room_states(rooms, ask)).items():
        if state is not None:
            room = room_view(room_id, state, me, default="join" if room_id in joined else "leave")
            if room_id in joined or room.membership != "join":
                read[room_id] = room
    return read


def carry_out(
    client: Client, store: StateStore, view: ServerView, decided: Plan, rows: Mapping[RoomId, RoomRow]
) -> None:
    """Write the decided rows over `rows` and tell nio which rooms there are."""
    store.write_rooms(decided.rows)
    known = {**rows, **{row.room_id: row for row in decided.rows}}
    joined = {room.room_id for room in view.rooms.values() if room.membership == "join"}
    if view.complete and view.joined:
        joined |= view.joined & known.keys()
    for room_id in joined:
        room, row = view.rooms.get(room_id), known.get(room_id)
        # Encryption is never switched off, so a row counts where the server's picture leaves it out.
        client.know_room(room_id, encrypted=bool((room and room.encrypted) or (row and row.encrypted)))
