"""Progress and order: a sync token counts only once everything before it is handled."""

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


@dataclass
class Batch:
    """One sync response on its way: `token` is set when all of it is queued, `pending` counts what is not done."""

    number: int
    token: str | None = None
    pending: int = 0


class Progress:
    """Batches in order of arrival; the saved position is that of the last one with nothing pending up to its end."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._batches: deque[Batch] = deque([Batch(store.next_batch_number())])

    @property
    def current(self) -> Batch:
        return self._batches[-1]

    def close_batch(self, token: str) -> None:
        """All events up to `token` are queued now; what comes next belongs to the next batch."""
        self.current.token = token
        self._batches.append(Batch(self._store.next_batch_number()))
        self._advance()

    def begin(self) -> Batch:
        self.current.pending += 1
        return self.current

    def finish(self, batch: Batch) -> None:
        batch.pending -= 1
        self._advance()

    @property
    def pending(self) -> int:
        return sum(batch.pending for batch in self._batches)

    def _advance(self) -> None:
        done: Batch | None = None
        while self._batches[0].token is not None and self._batches[0].pending == 0:
            done = self._batches.popleft()
        if done is not None and done.token is not None:
            self._store.save_position(done.token, upto_batch=done.number)


Job = Callable[[], Awaitable[None]]


def is_being_cancelled(error: BaseException) -> bool:
    """Return whether this task itself is being cancelled; a call that it awaits may raise CancelledError too."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class RoomQueues:
    """One worker per busy room: order within a room is kept, a slow room holds up no other, a failure ends one job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.on_broken: Callable[[], object] = lambda: None
        self.broken: BaseException | None = None
        """Why the bot must end: the session is dead, or progress can no longer be recorded, and further work would be
        done twice."""
        self._jobs: dict[RoomId, deque[tuple[Batch, Job]]] = {}
        self._workers: dict[RoomId, asyncio.Task[None]] = {}

    def submit(self, room_id: RoomId, job: Job) -> None:
        """Queue a job. It counts as part of the batch that is open now."""
        self._jobs.setdefault(room_id, deque()).append((self._progress.begin(), job))
        if room_id not in self._workers:
            worker = asyncio.create_task(self._work(room_id), name=f"room {room_id}")
            self._workers[room_id] = worker
            worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        if not worker.cancelled() and (error := worker.exception()):
            log.error("progress_broken", exc_info=error)
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self.broken = error
        self.on_broken()

    async def _work(self, room_id: RoomId) -> None:
        jobs = self._jobs[room_id]
        while jobs:
            batch, job = jobs[0]
            try:
                await job()
            except SessionOver as error:
                self._give_up(error)
                return  # not finished: it is done again after the next start
            except (Exception, asyncio.CancelledError) as error:
                if is_being_cancelled(error):
                    raise
                log.exception("handler_failed", room_id=room_id)
            jobs.popleft()
            self._progress.finish(batch)
        del self._jobs[room_id], self._workers[room_id]

    async def drain(self, timeout_s: float) -> int:
        """Wait for the workers, then end those that are left. Return how many jobs were not done.

        The next start does them, since their batch was never finished.
        """
        workers = list(self._workers.values())
        if workers:
            _, late = await asyncio.wait(workers, timeout=timeout_s)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        return self._progress.pending
