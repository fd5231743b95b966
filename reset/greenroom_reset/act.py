"""Leaving and forgetting: the only module of reset that writes to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import groupby

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import MatrixError, SessionOver
from greenroom_bot.matrix.ids import RoomId
from greenroom_reset.journal import Journal
from greenroom_reset.pace import Pace
from greenroom_reset.plan import RoomStep

CONCURRENCY = 16  # beyond this Synapse gains nothing: it writes on one core


async def leave_and_forget(
    client: Client,
    steps: Iterable[RoomStep],
    *,
    forget: Callable[[RoomStep], bool],
    journal: Journal,
    leaving: Pace,
    forgetting: Pace,
    advance: Callable[[], None],
) -> dict[RoomId, MatrixError]:
    """Carry the steps out, layer by layer, and return what went wrong by room. One bad room does not stop the rest.

    Nothing but a rate limit is tried again: the next run is the retry, on what the server then says is left to do.
    Raises SessionOver as soon as the server has disowned the session, because nothing more can come of that.
    """
    steps = list(steps)
    failures: dict[RoomId, MatrixError] = {}
    dead: list[SessionOver] = []
    to_leave = {step.room_id for step in steps if step.membership != "leave"}
    leaving.remaining = lambda: len(to_leave)

    async def work(step: RoomStep) -> None:
        try:
            if step.membership != "leave":
                await leaving.send(lambda: client.request("POST", "rooms", step.room_id, "leave"))
                to_leave.remove(step.room_id)
            if forget(step):
                await forgetting.send(lambda: client.request("POST", "rooms", step.room_id, "forget"))
            journal.done(step.room_id)
        except MatrixError as why:
            failures[step.room_id] = why
        except SessionOver as error:  # collected: raised in a task group it would come out as a group of errors
            dead.append(error)
        except UnicodeError as why:  # half a character in a room id, which no URL can hold
            failures[step.room_id] = MatrixError("POST", "rooms", status=None, cause=str(why), definite=True)
        to_leave.discard(step.room_id)
        advance()

    async def worker(queue: list[RoomStep]) -> None:
        while queue and not dead:
            await work(queue.pop())

    for _, layer in groupby(steps, key=lambda step: step.layer):
        queue = list(layer)[::-1]
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(CONCURRENCY, len(queue))):
                workers.create_task(worker(queue))
    if dead:
        raise dead[0]
    return failures
