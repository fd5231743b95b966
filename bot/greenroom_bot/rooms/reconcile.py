"""Bringing local rows and the homeserver back together: fetch, plan, apply in one transaction, report.

Nothing here writes to the homeserver; the client is locked against it while a start-up reconciliation runs.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from greenroom_bot.matrix.client import Client, Snapshot
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.matrix.retry import until_blamed
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.planner import Plan, RoomOutcome, plan
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import StateStore
from greenroom_bot.rooms.view import RoomView, ServerView, room_view, server_view

UNREGISTERED = "unregistered:"


def resolve_chat_id(store: StateStore, room_id: RoomId, matrix_user_id: UserId) -> ChatId:
    """Return the chat that a room is, or ``unregistered:{room_id}`` when no row routes it.

    ``matrix_user_id`` is who asks; a room is the same chat for everybody in it, what one may do there is decided later.
    """
    row = store.room(room_id)
    return row.chat_id if row and routed(row) else ChatId(f"{UNREGISTERED}{room_id}")


def routed(row: RoomRow) -> bool:
    """Return whether messages in this room belong to the chat that its row names."""
    return row.kind in ("chat", "space") and row.status not in ("left", "conflict")


async def fetch_view(client: Client, snapshot: Snapshot) -> ServerView:
    """Complete a snapshot with ``joined_rooms``: two requests in all, whatever the number of rooms."""
    try:
        joined = (await client.request("GET", "joined_rooms")).get("joined_rooms")
    except MatrixError:
        joined = None
    return server_view(snapshot.raw, joined if isinstance(joined, list) else None, client.user_id)


async def reconcile_matrix_state(client: Client, store: StateStore, chat_mgr: ChatManager) -> dict[str, Any]:
    """Reconcile every room from the client's last snapshot; return the report.

    Keys: ``rooms_seen``, ``outcomes`` (a counter for each, adding up to ``rooms_seen``), ``reasons``, ``degraded``,
    ``rooms`` (each that is neither unchanged nor skipped), ``server_writes``, ``http_requests``, ``duration_ms``.
    Raises MatrixError only when there is no snapshot to work from.
    """
    if client.snapshot is None:
        raise MatrixError("GET", "/sync", status=None, cause="no snapshot was taken before reconciling")
    started, writes, requests = time.monotonic(), client.writes, client.requests
    view = await fetch_view(client, client.snapshot)
    # Planning a thousand rooms takes tens of milliseconds: off the loop, so that nothing else stalls.
    decided = await asyncio.to_thread(_plan, view, store.rooms(), chat_mgr, [i.request for i in store.intents()])
    _apply(client, store, view, decided)
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
    """Judge one room by its current state (one request, repeated for a while) and write its row; return the report.

    ``matrix_user_id`` is whose message made us look. A state that cannot be had is reported as ``skipped`` with reason
    ``fetch_failed``, and the row stays as it is. Raises SessionOver only.
    """
    rooms: dict[RoomId, RoomView] = {}
    failure = ""
    try:
        state = await until_blamed("room state", lambda: client.room_state(room_id), client.well)
        rooms[room_id] = room_view(room_id, state, client.user_id, default="leave")
    except MatrixError as why:
        failure = str(why)
    view = ServerView(client.user_id, rooms, frozenset({room_id, *client.rooms}), chat_mgr.direct, complete=False)
    decided = _plan(view, store.rooms(), chat_mgr, [i.request for i in store.intents()])
    if failure:
        decided = Plan((RoomOutcome(room_id, "skipped", "fetch_failed", failure),))
    _apply(client, store, view, decided)
    return {
        **decided.report(),
        "room_id": room_id,
        "user_id": matrix_user_id,
        "result": [o.as_dict() for o in decided.outcomes],
    }


def _plan(view: ServerView, rows: dict[RoomId, RoomRow], chat_mgr: ChatManager, interrupted: list[str]) -> Plan:
    return plan(view, rows, instance=chat_mgr.instance, interrupted=interrupted)


def _apply(client: Client, store: StateStore, view: ServerView, decided: Plan) -> None:
    """Write the rows and tell nio which rooms there are. A changed room may be spoken about again."""
    store.write_rooms(decided.rows)
    store.forget_told([row.room_id for row in decided.rows])
    rows = store.rooms()
    joined = {room.room_id for room in view.rooms.values() if room.membership == "join"}
    for room_id in joined | (view.joined & rows.keys() if view.complete and view.joined else set()):
        room, row = view.rooms.get(room_id), rows.get(room_id)
        # A room was encrypted for good, also where a picture leaves that out.
        client.know_room(room_id, encrypted=bool((room and room.encrypted) or (row and row.encrypted)))
