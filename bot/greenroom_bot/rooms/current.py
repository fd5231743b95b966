"""What the homeserver says of the account's rooms now, for a tool on the bot's device: no cache answers.

The bot itself brings its snapshot up to date by a second sync, which tells the homeserver that its to-device messages
have arrived. A tool must not do that.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenroom_bot.matrix.client import Client, room_states
from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.errors import BotError, MatrixError
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.matrix.picture import NOT_CURRENT, is_current, own_filter
from greenroom_bot.matrix.session import signed_in
from greenroom_bot.rooms.reconcile import fetch_view
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.view import SNAPSHOT_FILTER, RoomView, ServerView, direct_rooms, room_view

Warn = Callable[[str, str], None]
"""Is called with the id of a device that could not be signed out, and with the reason."""


def check_device(client: Client, credentials: Credentials, warn: Warn) -> AbstractAsyncContextManager[str]:
    """Sign in like `session.signed_in`; a device that this makes has not existed before."""
    device_id = f"GREENROOM_CHECK_{secrets.token_hex(4)}"
    return signed_in(
        client,
        credentials,
        device_id=device_id,
        device_name="Greenroom check",
        warn=lambda text: warn(device_id, text),
        fallback=False,
    )


async def current_view(
    client: Client, credentials: Credentials, rows: Mapping[RoomId, RoomRow], warn: Warn
) -> tuple[ServerView, str]:
    """Return the view, and in words what it cannot tell (empty if nothing). Raises MatrixError or SessionOver.

    If the sync of the client's device may be old, a new device takes the picture: it needs the password. Without one
    every room is asked about singly, and the view has no invites.
    """
    snapshot = await client.sync(timeout=0, full_state=True, sync_filter=own_filter(SNAPSHOT_FILTER))
    if await is_current(client, snapshot):
        return await _completed(client, await fetch_view(client, snapshot), rows), ""
    by_password = replace(credentials, access_token=None, store_path=Path(os.devnull))
    if credentials.password:
        try:
            async with Client(credentials.homeserver, credentials.user_id, store_path="") as other:
                other.read_only = True
                async with check_device(other, by_password, warn):
                    snapshot = await other.sync(timeout=0, full_state=True, sync_filter=own_filter(SNAPSHOT_FILTER))
                    view = await fetch_view(other, snapshot)
            return await _completed(client, view, rows), ""
        except BotError as error:
            return await _room_by_room(client, snapshot, rows), f"{NOT_CURRENT}. No new device could ask: {error}"
    return await _room_by_room(client, snapshot, rows), f"{NOT_CURRENT}. With MATRIX_PASSWORD a new device could ask"


async def _completed(client: Client, view: ServerView, rows: Mapping[RoomId, RoomRow]) -> ServerView:
    """Read the rooms that a current sync left out, and rooms of the records of which it does not say how we left."""
    joined = view.joined or frozenset()
    rooms = dict(view.rooms)
    lost = [
        room_id for room_id, row in rows.items() if row.status != "left" and _without_own(rooms.get(room_id), view.me)
    ]
    for room_id, seen in (await _read(client, [*(joined - rooms.keys()), *lost], joined)).items():
        if seen is not None:
            rooms[room_id] = seen
    return replace(view, rooms=rooms)


def _without_own(room: RoomView | None, me: str) -> bool:
    return room is not None and room.membership == "leave" and me not in room.members


async def _room_by_room(client: Client, old: Mapping[str, object], rows: Mapping[RoomId, RoomRow]) -> ServerView:
    """Return a view of the rooms in `joined_rooms`, and of others in the records or an old picture that were left."""
    view = await fetch_view(client, old)
    if view.joined is None:
        return replace(view, rooms={})
    read = await _read(client, {*view.joined, *view.rooms, *rows}, view.joined)
    seen = {room_id: room for room_id, room in read.items() if room is not None}
    direct = view.direct
    with suppress(MatrixError):  # then the old picture counts
        direct = direct_rooms(await client.request("GET", "user", view.me, "account_data", "m.direct"))
    return replace(view, rooms=seen, direct=direct)


async def _read(client: Client, rooms: Iterable[RoomId], joined: frozenset[RoomId]) -> dict[RoomId, RoomView | None]:
    """Read the current state of rooms, or the state as of leaving them. None: it cannot be read, or was not left."""

    def seen(room_id: RoomId, state: list[dict[str, Any]] | None) -> RoomView | None:
        if state is None:
            return None
        room = room_view(room_id, state, client.user_id, default="join" if room_id in joined else "leave")
        return room if room_id in joined or room.membership != "join" else None

    states = await room_states(dict.fromkeys(rooms), client.room_state)
    return {room_id: seen(room_id, state) for room_id, state in states.items()}
