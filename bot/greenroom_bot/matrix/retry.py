"""How long to wait before the next attempt. One policy for every request that is worth repeating."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from greenroom_bot.matrix.errors import MatrixError

T = TypeVar("T")
log = structlog.get_logger()

FIRST_S, LONGEST_S = 0.5, 30.0
BLAME_ROUNDS, BLAME_ATTEMPTS = 3, 8
Sleep = Callable[[float], Awaitable[None]]


def backoff_s(attempt: int, retry_after_ms: int | None = None, jitter: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after failed attempt number `attempt` (from 1).

    The server's own `retry_after_ms` counts in full. Otherwise the wait doubles from 0.5 s up to 30 s, spread over its
    upper half so that many clients do not return at once.
    """
    if retry_after_ms is not None:
        return retry_after_ms / 1000 + 0.05 * jitter()
    ceiling = min(LONGEST_S, FIRST_S * 2 ** min(attempt - 1, 16))
    return float(ceiling * (0.5 + 0.5 * jitter()))


async def pause(
    what: str, failed: MatrixError, attempt: int, *, settle_s: float = 0.0, sleep: Sleep = asyncio.sleep
) -> None:
    """Wait after failed attempt number `attempt`, and log it as `waiting`. Raises `failed` unless it may pass.

    `settle_s` is the least wait after an attempt that may have had its effect all the same.
    """
    if not failed.passing:
        raise failed
    wait_s = backoff_s(attempt, failed.retry_after_ms)
    wait_s = wait_s if failed.definite else max(wait_s, settle_s)
    log.warning("waiting", what=what, attempt=attempt, retry_in_s=round(wait_s, 2), seen=str(failed))
    await sleep(wait_s)


async def until_answered(
    what: str,
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int | None = None,
    well: Callable[[], Awaitable[object]] | None = None,
    settle_s: float = 0.0,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Repeat an idempotent `call` until the server gives a definite answer, success or refusal.

    Only for reads, for writes that carry a transaction id or put a state, and for a `call` that looks first whether an
    earlier one had its effect; see `pause` for `settle_s`. Raises the MatrixError of a definite refusal, or of the last
    of `attempts` (None: no limit).

    `well` is for a request about one room: a homeserver can fail for good in one room, and the bot must still answer in
    the others. Then `call` gets BLAME_ROUNDS rounds of BLAME_ATTEMPTS, some minutes in all, and between two rounds
    `well` has to be answered: while that fails too, the room is not to blame. Nor is it for a rate limit, which takes
    up no attempt.
    """
    limit = BLAME_ROUNDS * BLAME_ATTEMPTS if well else attempts
    waits = failures = 0
    while True:
        try:
            return await call()
        except MatrixError as error:
            failed = error
        waits += 1
        blamed = not (well and failed.rate_limited)
        failures += blamed
        if blamed and failures == limit:
            raise failed
        if well and blamed and failed.passing and failures % BLAME_ATTEMPTS == 0:
            await until_answered("homeserver", well, sleep=sleep)
            waits = 0
        else:
            await pause(what, failed, waits, settle_s=settle_s, sleep=sleep)
