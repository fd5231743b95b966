"""How long to wait before asking again. One policy for every request that is worth repeating."""

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
    """Return the seconds to wait after failed attempt number ``attempt`` (from 1).

    What the server asks for counts in full; otherwise doubling from 0.5 s up to 30 s, spread over the upper half so
    that many clients do not come back at once.
    """
    if retry_after_ms is not None:
        return retry_after_ms / 1000 + 0.05 * jitter()
    ceiling = min(LONGEST_S, FIRST_S * 2 ** min(attempt - 1, 16))
    return float(ceiling * (0.5 + 0.5 * jitter()))


async def until_answered(
    what: str, call: Callable[[], Awaitable[T]], *, attempts: int | None = None, sleep: Sleep = asyncio.sleep
) -> T:
    """Repeat an idempotent ``call`` until the server gives a definite answer, success or refusal.

    Only for reads, and for writes that carry a transaction id or put a state. Each wait is logged as ``waiting``.
    Raises the MatrixError of a definite refusal, or of the last of so many ``attempts`` (None: no limit).
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await call()
        except MatrixError as why:
            if not why.passing or attempt == attempts:
                raise
            wait_s = backoff_s(attempt, why.retry_after_ms)
            log.warning("waiting", what=what, attempt=attempt, retry_in_s=round(wait_s, 2), seen=str(why))
        await sleep(wait_s)


async def until_blamed(
    what: str, call: Callable[[], Awaitable[T]], well: Callable[[], Awaitable[object]], *, sleep: Sleep = asyncio.sleep
) -> T:
    """Repeat like :func:`until_answered`, but give up on a call that alone fails: over some minutes, in BLAME_ROUNDS
    rounds, each after ``well`` has been answered. While that is not answered either, the call is not to blame.

    For what concerns one room: a homeserver can fail for good in one room, and that must not silence us in the others.
    """
    rounds = 0
    while True:
        try:
            return await until_answered(what, call, attempts=BLAME_ATTEMPTS, sleep=sleep)
        except MatrixError as why:
            rounds += 1
            if not why.passing or rounds == BLAME_ROUNDS:
                raise
        await until_answered("homeserver", well, sleep=sleep)
