"""Working through a homeserver's rate limit: wait as told, one request at a time, and say how long it will take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from greenroom_bot.matrix.errors import MatrixError

T = TypeVar("T")
DEFAULT_WAIT_S = 5.0  # for a 429 that does not say how long
LEAST_WAIT_S = 0.1  # whatever a 429 says; doubled while nothing is granted, up to the default
LONGEST_WAIT_MS = 10**10  # some months; a 429 that asks for more makes no sense
CLEAR_AFTER = 5  # this many grants in a row without a 429, and requests go in parallel again


class Pace:
    """One kind of request under one limit.

    Requests go in parallel until the first 429. From then on they go one at a time, because the server grants one per
    interval and would refuse the others. `on_wait(wait_s, left_s)` is called before each wait. `left_s` is an estimate
    of the time for the `remaining()` requests: the longest wait so far stands for the interval, because the first one
    can be shorter.
    """

    def __init__(
        self,
        on_wait: Callable[[float, float], None],
        *,
        remaining: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._on_wait, self._remaining, self._clock, self._sleep = on_wait, remaining, clock, sleep
        self._parallel: set[asyncio.Future[Any]] = set()  # requests without an answer
        self._one_at_a_time = asyncio.Lock()
        self._limited = False
        self._open_at = self._longest_wait_s = 0.0
        self._least_wait_s = LEAST_WAIT_S
        self._grants_in_a_row = 0

    async def send(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a request until its answer is anything but 429. Return or raise that answer."""
        while True:
            in_turn = self._limited
            try:
                if not in_turn:
                    return await self._in_parallel(call)
                async with self._one_at_a_time:
                    await self._wait()
                    answer = await call()
                    self._granted()
                    return answer
            except MatrixError as error:
                if not error.rate_limited:
                    raise
                self._refused(_asked_s(error), in_turn=in_turn)

    async def _in_parallel(self, call: Callable[[], Awaitable[T]]) -> T:
        request = asyncio.ensure_future(call())
        self._parallel.add(request)
        request.add_done_callback(self._parallel.discard)
        return await request

    async def _wait(self) -> None:
        # A refusal can overtake the answers to granted requests, and until they come `remaining()` is too high.
        if self._parallel and (wait_s := self._open_at - self._clock()) > 0:
            await asyncio.wait(self._parallel, timeout=wait_s)
        while (wait_s := self._open_at - self._clock()) > 0:
            self._on_wait(wait_s, wait_s + max(0, self._remaining() - 1) * self._longest_wait_s)
            await self._sleep(wait_s)

    def _refused(self, wait_s: float, *, in_turn: bool) -> None:
        if in_turn:  # parallel requests were sent before the first refusal: they do not show that a wait was too short
            self._least_wait_s = min(2 * self._least_wait_s, DEFAULT_WAIT_S)
        self._limited, self._grants_in_a_row = True, 0
        wait_s = max(wait_s, self._least_wait_s)
        self._longest_wait_s = max(self._longest_wait_s, wait_s)
        self._open_at = max(self._open_at, self._clock() + wait_s)

    def _granted(self) -> None:
        self._grants_in_a_row += 1
        self._least_wait_s = LEAST_WAIT_S
        self._limited = self._grants_in_a_row < CLEAR_AFTER


def _asked_s(error: MatrixError) -> float:
    """Return the wait that a 429 asks for. The spec says whole milliseconds; some servers send fractions."""
    asked = error.body.get("retry_after_ms")
    return asked / 1000 if isinstance(asked, int | float) and 0 <= asked <= LONGEST_WAIT_MS else DEFAULT_WAIT_S
