"""Leaving, forgetting, and looking again: the only module of reset that writes to the server."""

from __future__ import annotations

import asyncio
import time
from itertools import groupby

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import CredentialsError, MatrixError, SessionOver
from greenroom_reset.pace import Pace
from greenroom_reset.plan import RoomState, RoomStep, ServerPart
from greenroom_reset.rooms import list_rooms
from greenroom_reset.screen import Screen

CONCURRENCY = 16  # beyond this Synapse gains nothing: it writes on one core


async def leave_and_forget(client: Client, server: ServerPart, screen: Screen, *, forced_forget: bool) -> None:
    """Carry the steps out, layer by layer. Each becomes `acknowledged` or `failed`, and is printed at once.

    One bad room does not stop the rest. Only a rate limit is tried again: the next run repeats what the server then
    still lists. `forced_forget`: the server forgets a room by itself when the account leaves it.
    Raises CredentialsError when the server ends the session, because every further request would fail.
    """
    to_leave = {room.room_id for room in server.rooms if room.membership != "leave"}
    leaving, forgetting = Pace(screen.waiting, remaining=lambda: len(to_leave)), Pace(screen.waiting)
    over: list[SessionOver] = []

    async def ask(room: RoomStep, action: str) -> None:
        before, room.state = room.state, "unverified"
        try:
            await client.request("POST", "rooms", room.room_id, action)
        except (MatrixError, SessionOver) as error:
            if isinstance(error, SessionOver) or error.definite:
                room.state = before
            raise

    async def work(room: RoomStep) -> None:
        try:
            if room.membership != "leave":
                await leaving.send(lambda: ask(room, "leave"))
                to_leave.remove(room.room_id)
            if room.membership == "leave" or not forced_forget:
                await forgetting.send(lambda: ask(room, "forget"))
            room.state = "acknowledged"
        except MatrixError as error:
            room.state, room.error = "failed", error
        except SessionOver as error:
            over.append(error)
            return
        except UnicodeError as error:  # half a character in a room id, which no URL can hold
            cause = MatrixError("POST", "rooms", status=None, cause=str(error), definite=True)
            room.state, room.error = "failed", cause
        to_leave.discard(room.room_id)
        screen.lines([f"  {room.outcome()}"])

    async def worker(queue: list[RoomStep]) -> None:
        while queue and not over:
            await work(queue.pop())

    began = time.monotonic()
    try:
        for _, layer in groupby(server.rooms, key=lambda room: room.layer):
            queue = list(layer)[::-1]
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(CONCURRENCY, len(queue))):
                    workers.create_task(worker(queue))
    except BaseExceptionGroup as group:  # not about one room: the output is closed, for one
        raise group.exceptions[0] from None
    finally:
        server.acting_s = time.monotonic() - began
    if over:
        raise CredentialsError(f"the homeserver ended the session midway ({over[0].errcode})")


async def verify(client: Client, server: ServerPart, screen: Screen) -> None:
    """List the rooms again. A room is done when every request for it was acknowledged and the listing lacks it.

    A listing that contradicts itself proves only what it has: the rooms that it lacks are unverified.
    """
    try:
        listing = await list_rooms(client, Pace(screen.waiting))
    except (MatrixError, SessionOver) as error:
        server.unverified_because = str(error)
        for room in server.rooms:
            room.state = "unverified"
        return
    server.unverified_because = listing.contradiction
    gone: RoomState = "unverified" if listing.contradiction else "done"
    listed = dict(listing.memberships)
    for room in server.rooms:
        room.still = listed.pop(room.room_id, None)
        room.state = gone if room.state == "acknowledged" and not room.still else "failed"
    server.arrived = listed
