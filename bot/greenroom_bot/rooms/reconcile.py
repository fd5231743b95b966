"""Bring local rows and the homeserver together again: fetch, plan, write in one transaction, report.

Nothing here writes to the homeserver. The client refuses writes while a start-up reconciliation runs.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from greenroom_bot.matrix.client import Client, Snapshot
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.look import look_at_room, write_plan
from greenroom_bot.rooms.planner import Plan, RoomOutcome, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import StateStore
from greenroom_bot.rooms.view import ServerView, server_view

UNREGISTERED = "unregistered:"


def resolve_chat_id(store: StateStore, room_id: RoomId, matrix_user_id: UserId) -> ChatId:
    """Return the chat that a room is, or `unregistered:{room_id}` if no row routes the room.

    A room is the same chat for everybody in it, so the answer does not depend on `matrix_user_id`, who asks.
    """
    row = store.room(room_id)
    return row.chat_id if row and routed(row) else ChatId(f"{UNREGISTERED}{room_id}")


def routed(row: RoomRow) -> bool:
    """Return whether messages in this room belong to the chat that its row names."""
    return row.kind in ("chat", "space") and row.status not in ("left", "conflict")


async def fetch_view(client: Client, snapshot: Snapshot) -> ServerView:
    """Complete a snapshot with `joined_rooms`: two requests in all, whatever the number of rooms."""
    try:
        joined = (await client.request("GET", "joined_rooms")).get("joined_rooms")
    except MatrixError:
        joined = None
    return server_view(snapshot.raw, joined if isinstance(joined, list) else None, client.user_id)


async def reconcile_matrix_state(client: Client, store: StateStore, chat_mgr: ChatManager) -> dict[str, Any]:
    """Reconcile every room from the client's last snapshot, and return the report.

    Keys: `rooms_seen`, `outcomes` (a counter for each, adding up to `rooms_seen`), `reasons`, `degraded`, `rooms` (each
    that is neither unchanged nor skipped), `server_writes`, `http_requests`, `duration_ms`. Raises MatrixError if no
    snapshot was taken.
    """
    if client.snapshot is None:
        raise MatrixError("GET", "/sync", status=None, cause="no snapshot was taken before reconciling")
    started, writes, requests = time.monotonic(), client.writes, client.requests
    view = await fetch_view(client, client.snapshot)
    rows, interrupted = store.rooms(), [intent.request for intent in store.intents()]
    # To plan a thousand rooms takes tens of milliseconds: off the loop, so that nothing else stalls.
    decided = await asyncio.to_thread(plan, view, rows, instance=chat_mgr.instance, interrupted=interrupted)
    write_plan(client, store, view, rows, decided)
    chat_mgr.note(view)
    return {
        **decided.report(),
        "server_writes": client.writes - writes,
        "http_requests": client.requests - requests + 1,  # the snapshot itself
        "duration_ms": round((time.monotonic() - started) * 1000),
    }


async def reconcile_single_room(
    client: Client, store: StateStore, chat_mgr: ChatManager, room_id: RoomId, matrix_user_id: UserId
) -> dict[str, Any]:
    """Judge one room by its current state and write its row; return the report.

    `matrix_user_id` is the person whose message made the bot look. If the state cannot be fetched, the room is
    `skipped` with the reason `fetch_failed`, and its row stays as it is. Raises SessionOver only.
    """
    try:
        verdict = await look_at_room(client, store, room_id, instance=chat_mgr.instance, direct=chat_mgr.direct)
    except MatrixError as error:
        verdict = RoomOutcome(room_id, "skipped", "fetch_failed", str(error))
    report = Plan((verdict,)).report()
    return {**report, "room_id": room_id, "user_id": matrix_user_id, "result": [verdict.as_dict()]}
