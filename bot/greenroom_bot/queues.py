"""How far the bot has come: a sync token counts only once the bot has handled everything before it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from greenroom_bot.matrix.errors import SessionOver
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.rooms.store import SQLiteStore

log = structlog.get_logger()

Job = Callable[[], Awaitable[None]]


@dataclass
class Batch:
    """The jobs of one sync response. `token` is set once all are queued; `pending` counts those that are not done."""

    number: int
    token: str | None = None
    pending: int = 0


class Progress:
    """Batches in order of arrival. The saved position is the end of the last batch before the first unfinished one."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._batches: deque[Batch] = deque([Batch(store.next_batch_number())])

    @property
    def current(self) -> Batch:
        return self._batches[-1]

    @property
    def pending(self) -> int:
        return sum(batch.pending for batch in self._batches)

    def close_batch(self, token: str) -> None:
        """End the current batch, whose last event is the one before `token`, and open the next."""
        self.current.token = token
        self._batches.append(Batch(self._store.next_batch_number()))
        self._advance()

    def begin(self) -> Batch:
        self.current.pending += 1
        return self.current

    def finish(self, batch: Batch) -> None:
        batch.pending -= 1
        self._advance()

    def _advance(self) -> None:
        done: Batch | None = None
        while self._batches[0].token is not None and self._batches[0].pending == 0:
            done = self._batches.popleft()
        if done is not None and done.token is not None:
            self._store.save_position(done.token, upto_batch=done.number)


def is_being_cancelled(error: BaseException) -> bool:
    """Return whether our own task is being cancelled, and not only something that it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class RoomQueues:
    """One worker per busy room: it keeps the order within the room, delays no other room, and survives a failed job."""

    def __init__(self, progress: Progress, *, on_broken: Callable[[], None]) -> None:
        self._progress = progress
        self._on_broken = on_broken
        self.broken: BaseException | None = None
        """Why nothing more can be done: the session is over, or the bot can no longer record its progress and would do
        things twice."""
        self._jobs: dict[RoomId, deque[tuple[Batch, Job]]] = {}
        self._workers: dict[RoomId, asyncio.Task[None]] = {}

    def submit(self, room_id: RoomId, job: Job) -> None:
        """Queue a job as part of the current batch."""
        self._jobs.setdefault(room_id, deque()).append((self._progress.begin(), job))
        if room_id not in self._workers:
            worker = asyncio.create_task(self._work(room_id), name=f"room {room_id}")
            self._workers[room_id] = worker
            worker.add_done_callback(self._ended)

    async def drain(self, timeout_s: float) -> int:
        """Wait until the workers finish, for at most `timeout_s`, then cancel them. Return how many jobs were not done.

        The next start does those jobs, because their batch was never finished.
        """
        workers = list(self._workers.values())
        if workers:
            _, late = await asyncio.wait(workers, timeout=timeout_s)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        return self._progress.pending

    async def _work(self, room_id: RoomId) -> None:
        jobs = self._jobs[room_id]
        while jobs:
            batch, job = jobs[0]
            try:
                await job()
            except SessionOver as error:
                self._give_up(error)
                return  # the job is not finished: the next start does it
            except (Exception, asyncio.CancelledError) as error:
                if is_being_cancelled(error):
                    raise
                log.exception("handler_failed", room_id=room_id)
            jobs.popleft()
            self._progress.finish(batch)
        del self._jobs[room_id], self._workers[room_id]

    def _ended(self, worker: asyncio.Task[None]) -> None:
        if not worker.cancelled() and (error := worker.exception()):
            log.error("progress_broken", exc_info=error)
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self.broken = error
        self._on_broken()
