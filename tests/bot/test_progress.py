"""When the bot saves a position, and how rooms go on while one of them is slow."""

from __future__ import annotations

import asyncio

import pytest

from greenroom_bot.matrix.errors import SessionOver
from greenroom_bot.queues import Progress, RoomQueues
from greenroom_bot.rooms.store import SQLiteStore


@pytest.fixture
def store(tmp_path):
    opened = SQLiteStore(tmp_path / "bot.db")
    yield opened
    opened.close()


@pytest.fixture
def progress(store):
    return Progress(store)


@pytest.fixture
def queues(progress):
    return RoomQueues(progress)


class Gate:
    """A job that waits until `open` is set, and sets `began` when it starts."""

    def __init__(self) -> None:
        self.began, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.began.set()
        await self.open.wait()


def test_an_empty_batch_is_done_at_once(store, progress):
    """A batch without jobs is finished when it is closed."""
    progress.close_batch("s1")

    assert store.position == "s1"


def test_a_position_is_saved_only_when_all_before_it_is_handled(store, progress):
    """A later batch that is finished does not save its position before an earlier one is finished."""
    first = progress.begin()
    progress.close_batch("s1")
    second = progress.begin()
    progress.close_batch("s2")

    progress.finish(second)
    assert store.position is None
    progress.finish(first)
    assert store.position == "s2"


def test_a_batch_counts_only_once_it_is_closed(store, progress):
    """A batch is not finished before it is closed, even if all its jobs are done."""
    batch = progress.begin()
    progress.finish(batch)
    assert store.position is None

    progress.close_batch("s1")

    assert store.position == "s1"


async def test_order_within_a_room_is_kept(queues):
    """The jobs of one room run one after the other, in the order in which they were submitted."""
    done, gate = [], Gate()

    async def job(name):
        done.append(name)

    queues.submit("!a", gate)
    for name in ("one", "two", "three"):
        queues.submit("!a", lambda n=name: job(n))
    await gate.began.wait()
    assert done == []
    gate.open.set()
    await queues.drain(5)

    assert done == ["one", "two", "three"]


async def test_a_slow_room_holds_up_no_other(store, progress, queues):
    """While one room is slow, other rooms go on and only the saved position waits."""
    slow, quick = Gate(), Gate()
    quick.open.set()
    queues.submit("!slow", slow)
    progress.close_batch("s1")
    queues.submit("!quick", quick)
    progress.close_batch("s2")

    await quick.began.wait()
    await slow.began.wait()
    assert store.position is None
    slow.open.set()
    await queues.drain(5)

    assert store.position == "s2"


async def test_a_failing_job_is_logged_and_concerns_no_other(store, progress, queues, log_lines):
    """A job that raises is logged, and the room's other jobs and the position go on."""
    done = []

    async def failing():
        raise RuntimeError("a handler's mistake")

    async def working():
        done.append(True)

    queues.submit("!a", failing)
    queues.submit("!a", working)
    progress.close_batch("s1")
    assert await queues.drain(5) == 0

    assert done == [True]
    assert store.position == "s1"
    assert [line["room_id"] for line in log_lines if line["event"] == "handler_failed"] == ["!a"]


async def test_draining_ends_what_takes_too_long_and_leaves_its_position(store, progress, queues):
    """Draining cancels late jobs, counts them, and leaves the position before them."""
    done = asyncio.Event()

    async def quick():
        done.set()

    queues.submit("!quick", quick)
    progress.close_batch("s1")
    queues.submit("!slow", Gate())
    queues.submit("!slow", Gate())
    progress.close_batch("s2")

    undone = await queues.drain(0)

    assert undone == 2
    assert done.is_set()
    assert store.position == "s1"


async def test_a_dead_session_ends_the_work_and_leaves_the_job_unfinished(store, progress):
    """SessionOver stops the work and leaves its job unfinished, so that the next start does it."""
    broken = asyncio.Event()
    queues = RoomQueues(progress)
    queues.on_broken = broken.set

    async def refused():
        raise SessionOver("M_UNKNOWN_TOKEN")

    queues.submit("!a", refused)
    progress.close_batch("s1")
    await broken.wait()
    await queues.drain(5)

    assert isinstance(queues.broken, SessionOver)
    assert store.position is None


async def test_progress_that_cannot_be_recorded_is_the_end(store, progress, log_lines):
    """If progress cannot be saved the work stops, because to go on would do things twice."""
    broken = asyncio.Event()
    queues = RoomQueues(progress)
    queues.on_broken = broken.set
    gate = Gate()
    gate.open.set()

    queues.submit("!a", gate)
    progress.current.token = "s1"
    store.close()
    await broken.wait()

    assert queues.broken is not None
    assert [line for line in log_lines if line["event"] == "progress_broken"]
