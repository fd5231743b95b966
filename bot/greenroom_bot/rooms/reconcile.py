"""Bringing local rows and the homeserver back together: fetch, plan, apply in one transaction, report.

Nothing here writes to the homeserver; the client is locked against it while a start-up reconciliation runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.look import carry_out, look_at_room, with_left_rooms
from greenroom_bot.rooms.planner import Plan, RoomOutcome, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import StateStore
from greenroom_bot.rooms.view import ServerView, server_view

UNREGISTERED = "unregistered:"


def resolve_chat_id(store: StateStore, room_id: RoomId, matrix_user_id: UserId) -> ChatId:
    """Return the chat that a room is, or `unregistered:{room_id}` when no row routes it.

    A room is the same chat for everybody in it; what `matrix_user_id` may do there is decided later.
    """
    row = store.room(room_id)
    return row.chat_id if row and routed(row) else ChatId(f"{UNREGISTERED}{room_id}")


def routed(row: RoomRow) -> bool:
    """Return whether messages in this room belong to the chat that its row names."""
    return row.kind in ("chat", "space") and row.status not in ("left", "conflict")


async def fetch_view(client: Client, snapshot: Mapping[str, Any]) -> ServerView:
    """Complete a snapshot with `joined_rooms`: one request, however many rooms."""
    try:
        joined = (await client.request("GET", "joined_rooms")).get("joined_rooms")
    except MatrixError:
        joined = None
    return server_view(snapshot, joined if isinstance(joined, list) else None, client.user_id)


async def reconcile_matrix_state(client: Client, store: StateStore, chat_mgr: ChatManager) -> dict[str, Any]:
    """Reconcile every room from the client's last snapshot; return the report.

    Keys: `rooms_seen`, `outcomes` (a counter for each, adding up to `rooms_seen`), `reasons`, `degraded`, `rooms` (each
    that is neither unchanged nor skipped), `server_writes`, `http_requests`, `duration_ms`. Raises MatrixError only if
    there is no snapshot to work from.
    """
    if client.snapshot is None:
        raise MatrixError("GET", "/sync", status=None, cause="no snapshot was taken before reconciling")
    started, writes, requests = time.monotonic(), client.writes, client.requests
    rows, interrupted = store.rooms(), [intent.request for intent in store.intents()]
    view = await fetch_view(client, client.snapshot)
    view = await with_left_rooms(view, rows, client.sure_room_state)
    # Planning a thousand rooms takes tens of milliseconds, so it runs beside the event loop.
    decided = await asyncio.to_thread(plan, view, rows, instance=chat_mgr.instance, interrupted=interrupted)
    carry_out(client, store, view, decided, rows)
    chat_mgr.note(view)
    return {
        **decided.report(),
        "server_writes": client.writes - writes,
        "http_requests": client.requests - requests + client.snapshot_requests,
        "duration_ms": round((time.monotonic() - started) * 1000),
    }


async def reconcile_single_room(
    client: Client, store: StateStore, chat_mgr: ChatManager, room_id: RoomId, matrix_user_id: UserId
) -> dict[str, Any]:
    """Judge one room by its current state (one request, repeated for a while) and write its row; return the report.

    `matrix_user_id` sent the message that asked for it. If the state cannot be had, the room is reported as `skipped`
    with the reason `fetch_failed`, and its row stays as it is. Raises SessionOver only.
    """
    try:
        _, decided = await look_at_room(client, store, room_id, instance=chat_mgr.instance, direct=chat_mgr.direct)
    except MatrixError as error:
        decided = Plan((RoomOutcome(room_id, "skipped", "fetch_failed", str(error)),))
    return {
        **decided.report(),
        "room_id": room_id,
        "user_id": matrix_user_id,
        "result": [outcome.as_dict() for outcome in decided.outcomes],
    }
