"""Rate limits, with a clock that only sleeping moves: the waits, the estimate, the return to parallel requests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from greenroom_bot.matrix.errors import MatrixError
from greenroom_reset.pace import CLEAR_AFTER, DEFAULT_WAIT_S, Pace
from greenroom_reset.screen import duration


@dataclass
class Bucket:
    """A limiter like Synapse's: so many at once, then one per interval. A refusal says how long until the next."""

    burst: int
    interval_s: float
    now: float = 0.0
    used: float = 0.0
    refusals: int = 0
    turns_to_answer: int = 0  # of the event loop, between a grant and its answer; a refusal is answered at once
    waits: list[tuple[float, float]] = field(default_factory=list)

    def pace(self, left: list[int] | None = None) -> Pace:
        """Return a pace on this limiter's clock; `left` holds one entry for each request that has no answer yet."""
        return Pace(
            lambda wait_s, left_s: self.waits.append((wait_s, left_s)),
            remaining=lambda: len(left or [0]),
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds

    async def request(self) -> str:
        await asyncio.sleep(0)
        self.used = max(self.used, self.now / self.interval_s)
        if self.used + 1 > self.now / self.interval_s + self.burst:
            self.refusals += 1
            wait_s = (self.used + 1 - self.burst) * self.interval_s - self.now
            raise limited(round(wait_s * 1000) + 1)
        self.used += 1
        for _ in range(self.turns_to_answer):
            await asyncio.sleep(0)
        return "done"


def limited(retry_after_ms: int | None) -> MatrixError:
    body = {"errcode": "M_LIMIT_EXCEEDED"} | ({} if retry_after_ms is None else {"retry_after_ms": retry_after_ms})
    return MatrixError("POST", "leave", status=429, body=body)


async def test_thirty_requests_against_synapses_defaults_take_the_time_that_was_announced():
    """At ten requests at once and then one per five seconds, the first announcement is right to within a tenth."""
    bucket = Bucket(burst=10, interval_s=5.0)
    left = list(range(30))
    pace = bucket.pace(left)

    await asyncio.gather(*(pace_one(pace, bucket, left) for _ in range(30)))

    wait_s, left_s = bucket.waits[0]
    assert wait_s == pytest.approx(5, abs=0.1)
    assert bucket.now == pytest.approx(100, rel=0.1)
    assert left_s == pytest.approx(bucket.now, rel=0.1)
    assert bucket.refusals <= 20 + 20  # those under way when the limit was met, and one for each grant


async def test_what_was_granted_but_not_yet_answered_does_not_count_as_left():
    """If a refusal overtakes the answers to granted requests, the estimate leaves out the granted ones."""
    bucket = Bucket(burst=10, interval_s=5.0, turns_to_answer=20)
    left = list(range(14))
    pace = bucket.pace(left)

    await asyncio.gather(*(pace_one(pace, bucket, left) for _ in range(14)))

    _, left_s = bucket.waits[0]
    assert bucket.now == pytest.approx(20, rel=0.1)
    assert left_s == pytest.approx(bucket.now, rel=0.1)


async def test_a_request_that_is_never_answered_holds_up_no_other():
    """The wait for answers to parallel requests lasts no longer than the homeserver makes us wait anyway."""
    bucket, never, answers = Bucket(burst=1, interval_s=1), asyncio.Event(), [limited(1)]
    pace = bucket.pace()

    async def request() -> str:
        if answers:
            raise answers.pop()
        return "done"

    hanging = asyncio.create_task(pace.send(never.wait))
    await asyncio.sleep(0)
    assert await pace.send(request) == "done"

    assert not hanging.done()
    hanging.cancel()


async def pace_one(pace: Pace, bucket: Bucket, left: list[int]) -> None:
    assert await pace.send(bucket.request) == "done"
    left.pop()


async def test_each_wait_announces_less_time_than_the_one_before():
    """The estimate goes down to the length of the last wait."""
    bucket = Bucket(burst=1, interval_s=2.0)
    left = list(range(12))
    pace = bucket.pace(left)

    await asyncio.gather(*(pace_one(pace, bucket, left) for _ in range(12)))

    announced = [left_s for _, left_s in bucket.waits]
    assert announced == sorted(announced, reverse=True)
    assert announced[-1] == pytest.approx(2, abs=0.1)


async def test_a_refusal_that_does_not_say_how_long_is_waited_out_too():
    """A 429 without `retry_after_ms` means a wait of DEFAULT_WAIT_S."""
    bucket, answers = Bucket(burst=1, interval_s=1), [limited(None)]

    async def request() -> str:
        if answers:
            raise answers.pop()
        return "done"

    assert await bucket.pace().send(request) == "done"
    assert bucket.now == DEFAULT_WAIT_S


async def test_a_refusal_that_asks_for_no_wait_is_no_reason_to_hammer():
    """With `retry_after_ms` 0 the wait doubles while nothing is granted, and starts over afterwards."""
    bucket, answers = Bucket(burst=1, interval_s=1), [limited(0) for _ in range(9)]
    pace = bucket.pace()

    async def request() -> str:
        if answers:
            raise answers.pop()
        return "done"

    assert await pace.send(request) == "done"
    first = [wait_s for wait_s, _ in bucket.waits]
    answers.append(limited(0))
    assert await pace.send(request) == "done"

    assert first == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    assert bucket.waits[-1][0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("asked", "waited_s"),
    [(1500.5, 1.5005), (-1, 5), ("soon", 5), (float("inf"), 5), pytest.param(10**400, 5, id="400 digits")],
)
async def test_an_odd_time_to_wait_is_understood_or_replaced(asked, waited_s):
    """A fraction of a millisecond counts; a `retry_after_ms` that makes no sense becomes DEFAULT_WAIT_S."""
    bucket, answers = Bucket(burst=1, interval_s=1), [limited(asked)]

    async def request() -> str:
        if answers:
            raise answers.pop()
        return "done"

    await bucket.pace().send(request)

    assert bucket.now == pytest.approx(waited_s)


async def test_other_errors_pass_through_untouched():
    """An answer other than 429 is raised after one request."""
    bucket, requests = Bucket(burst=1, interval_s=1), []

    async def request() -> str:
        requests.append(1)
        raise MatrixError("POST", "leave", status=502)

    with pytest.raises(MatrixError):
        await bucket.pace().send(request)
    assert (len(requests), bucket.waits) == (1, [])


async def test_parallel_requests_come_back_once_the_limit_has_gone():
    """After CLEAR_AFTER grants in a row requests go in parallel again."""
    bucket, at_once, most, answers = Bucket(burst=1, interval_s=1), 0, [0], [limited(10)]
    pace = bucket.pace()

    async def request() -> str:
        nonlocal at_once
        if answers:
            raise answers.pop()
        at_once += 1
        most[-1] = max(most[-1], at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return "done"

    await pace.send(request)
    await asyncio.gather(*(pace.send(request) for _ in range(CLEAR_AFTER - 1)))
    most.append(0)
    await asyncio.gather(*(pace.send(request) for _ in range(8)))

    assert most == [1, 8]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (100, "1 min 40 s"), (3605, "60 min 05 s")]
)
def test_durations_are_written_for_people(seconds, text):
    """A duration is written in minutes and seconds."""
    assert duration(seconds) == text
