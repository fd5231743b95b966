"""What the homeserver says of the account's rooms now, for a tool on the bot's device: no cache answers.

The bot itself brings its snapshot up to date by a second sync, which tells the homeserver that its to-device messages
have arrived. A tool must not do that.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.errors import BotError, MatrixError
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.matrix.picture import NOT_CURRENT, is_current, own_filter
from greenroom_bot.matrix.session import signed_in
from greenroom_bot.rooms.look import read_rooms, with_left_rooms
from greenroom_bot.rooms.reconcile import fetch_view
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.view import SNAPSHOT_FILTER, ServerView, direct_rooms

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
    """Read the rooms that a current sync left out, and left rooms of which it told no state."""
    view = await with_left_rooms(view, rows, client.room_state)
    joined = view.joined or frozenset()
    left_out = await read_rooms(view.me, joined - view.rooms.keys(), joined, client.room_state)
    return replace(view, rooms={**view.rooms, **left_out})


async def _room_by_room(client: Client, old: Mapping[str, object], rows: Mapping[RoomId, RoomRow]) -> ServerView:
    """Return a view of the rooms in `joined_rooms`, and of others in the records or an old picture that were left."""
    view = await fetch_view(client, old)
    if view.joined is None:
        return replace(view, rooms={})
    seen = await read_rooms(view.me, {*view.joined, *view.rooms, *rows}, view.joined, client.room_state)
    direct = view.direct
    with suppress(MatrixError):  # then the old picture counts
        direct = direct_rooms(await client.request("GET", "user", view.me, "account_data", "m.direct"))
    return replace(view, rooms=seen, direct=direct)
