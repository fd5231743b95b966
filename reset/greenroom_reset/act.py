"""Leaving, forgetting, and looking again: the only module of reset that writes to the server."""

from __future__ import annotations

import asyncio
import time
from itertools import groupby

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import CredentialsError, MatrixError, SessionOver
from greenroom_reset.look import Look, doubt, reads_as_left
from greenroom_reset.pace import Pace
from greenroom_reset.plan import RoomStep, ServerPart
from greenroom_reset.screen import Screen

CONCURRENCY = 16  # beyond this Synapse gains nothing: it writes on one core


async def leave_and_forget(
    client: Client, server: ServerPart, screen: Screen, *, forced_forget: bool, witness: bool = False
) -> None:
    """Carry the steps out, layer by layer. Each becomes `acknowledged` or `failed`, and is printed at once.

    One bad room does not stop the rest. Only a rate limit is tried again: the next run repeats what the server then
    still lists. `forced_forget`: the server forgets a room by itself when the account leaves it. `witness`: no closing
    listing will be certain, so try each room before and after it is forgotten. Both requests answer 200 on some
    homeservers whatever they do; only what the account can read then shows what they did.
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

    async def readable(room: RoomStep) -> bool | None:
        if not witness:
            return None
        return await forgetting.send(lambda: reads_as_left(client, room.room_id, server.user_id))

    async def work(room: RoomStep) -> None:
        try:
            if room.membership != "leave":
                await leaving.send(lambda: ask(room, "leave"))
                to_leave.remove(room.room_id)
            left = await readable(room)
            if room.membership == "leave" or not forced_forget:
                await forgetting.send(lambda: ask(room, "forget"))
            room.seen_forgotten = left is True and await readable(room) is False
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


async def verify(look: Look, server: ServerPart, *, password: bool) -> None:
    """List the rooms again. A room is done when every request for it was acknowledged and the listing lacks it.

    A listing that contradicts itself, or that may be old, proves only what it has. The rooms that it lacks are
    unverified, except those that the account could read until it had forgotten them.
    """
    try:
        listing = await look.rooms()
    except (MatrixError, SessionOver) as error:
        server.unverified_because = str(error)
        for room in server.rooms:
            room.state = "unverified"
        return
    server.unverified_because = doubt(listing, password=password) or listing.contradiction
    listed = {room: how for room, how in listing.memberships.items() if room not in listing.doubtful}
    for room in server.rooms:
        room.still = listed.pop(room.room_id, None)
        if room.state != "acknowledged" or room.still:
            room.state = "failed"
        else:
            room.state = "unverified" if server.unverified_because and not room.seen_forgotten else "done"
    server.arrived = listed
