"""Working through a homeserver's rate limit: wait as told, one request at a time, and say how long it will take."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from greenroom_bot.matrix.errors import MatrixError

T = TypeVar("T")
DEFAULT_WAIT_S = 5.0  # for a 429 that does not say how long
LEAST_WAIT_S = 0.1  # whatever a 429 says; doubled while nothing is granted, up to the default
MEASURED_AFTER = 4  # grants
CLEAR_AFTER = 5  # this many successes in a row without a 429, and requests go in parallel again


class Pace:
    """One kind of request under one limit.

    The first 429 turns parallel requests into a queue: the server grants one request per interval, so more at once
    would only collect refusals. ``on_wait(wait_s, left_s)`` is called before each wait; ``left_s`` is the time for the
    ``remaining()`` requests at the pace measured between grants. Until there are a few, the longest wait that a 429
    asked for stands for the interval; the first one can be too short, because it meets the limiter between two grants.
    Parallel requests still under way get their answers first: some of them are granted, and ``remaining()`` does not
    know it yet. A wait that is over before they have them is not announced.
    """

    def __init__(
        self,
        on_wait: Callable[[float, float], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.remaining: Callable[[], int] = lambda: 1
        self._on_wait, self._clock, self._sleep = on_wait, clock, sleep
        self._queue = asyncio.Lock()
        self._under_way = 0  # parallel requests without an answer
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._open_at = 0.0
        self._limited = False
        self._longest_wait_s = 0.0
        self._least_wait_s = LEAST_WAIT_S
        self._grants: list[float] = []  # when, since the limit was met
        self._in_a_row = 0

    async def send(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a request until its answer is anything but 429; return or raise that answer."""
        while True:
            queued = self._limited
            try:
                if not queued:
                    return await self._in_parallel(call)
                async with self._queue:
                    await self._wait()
                    answer = await call()
                    self._granted()
                    return answer
            except MatrixError as why:
                if not why.rate_limited:
                    raise
                self._refused(_asked_s(why), queued=queued)

    async def _in_parallel(self, call: Callable[[], Awaitable[T]]) -> T:
        self._under_way += 1
        self._all_answered.clear()
        try:
            return await call()
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._all_answered.set()

    async def _settle(self) -> None:
        """Await the answers to parallel requests, for as long as we have to wait anyway."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._open_at - self._clock())):
                await self._all_answered.wait()

    async def _wait(self) -> None:
        await self._settle()
        while (wait_s := self._open_at - self._clock()) > 0:
            self._on_wait(wait_s, wait_s + max(0, self.remaining() - 1) * self._interval_s())
            await self._sleep(wait_s)

    def _interval_s(self) -> float:
        if len(self._grants) < MEASURED_AFTER:
            return self._longest_wait_s
        return (self._grants[-1] - self._grants[0]) / (len(self._grants) - 1)

    def _refused(self, wait_s: float, *, queued: bool) -> None:
        if not self._limited:
            self._limited, self._grants = True, []
        if queued:  # parallel ones were all sent before the first refusal, they are no sign of a wait too short
            self._least_wait_s = min(2 * self._least_wait_s, DEFAULT_WAIT_S)
        wait_s = max(wait_s, self._least_wait_s)
        self._in_a_row = 0
        self._open_at = max(self._open_at, self._clock() + wait_s)
        self._longest_wait_s = max(self._longest_wait_s, wait_s)

    def _granted(self) -> None:
        self._grants.append(self._clock())
        self._in_a_row += 1
        self._least_wait_s = LEAST_WAIT_S
        self._limited = self._in_a_row < CLEAR_AFTER


def _asked_s(why: MatrixError) -> float:
    """Return how long a 429 tells us to wait; whole milliseconds, says the spec, but some send fractions."""
    asked = why.body.get("retry_after_ms")
    return asked / 1000 if isinstance(asked, int | float) and 0 <= asked < math.inf else DEFAULT_WAIT_S
