"""Wait for a condition, never for a time, and report why it was not met."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from greenroom.errors import Misuse, NotMet

T = TypeVar("T")
DEFAULT_TIMEOUT_S = 15.0
KEPT_REASONS = 12


@dataclass(frozen=True)
class NotYet:
    """What a check returns while its condition is not met: the reason, in a few words."""

    reason: str


class Alive(Protocol):
    """A process or server whose end makes waiting pointless."""

    def check_alive(self) -> None:
        """Raise Died if it has ended."""


Check = Callable[[], T | NotYet | None] | Callable[[], Awaitable[T | NotYet | None]]


def timeout_factor(environ: Mapping[str, str] = os.environ) -> float:
    """Return GREENROOM_TIMEOUT_FACTOR, the number by which a slow machine stretches every time limit. Absent: 1."""
    text = environ.get("GREENROOM_TIMEOUT_FACTOR", "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1000:
        raise Misuse(f"GREENROOM_TIMEOUT_FACTOR must be a number above 0, not {text!r}")
    return factor


def scaled(timeout_s: float) -> float:
    """Return a time limit stretched for this machine."""
    return timeout_s * timeout_factor()


class Reasons:
    """Why a condition was not met: reasons with the seconds since the start; one that repeats is kept once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._kept: list[tuple[float, str]] = []

    def add(self, reason: str) -> None:
        """Note a reason, unless it is the latest one already."""
        if not self._kept or self._kept[-1][1] != reason:
            self._kept.append((self.elapsed_s(), reason))

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._start

    def not_met(self, what: str, watched: Iterable[object] = ()) -> NotMet:
        """Return the error that ends the wait. Of many reasons it keeps the latest."""
        return NotMet(what, self.elapsed_s(), self._kept[-KEPT_REASONS:], watched=watched)


async def until(
    check: Check[T],
    what: str,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    every_s: float = 0.05,
    watch: Iterable[Alive] = (),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Call `check` until it returns something other than NotYet, None or False; return that.

    `what` finishes the sentence "waited 15 s for ...". Before each call everything in `watch` is checked, so a server
    that has ended ends the wait at once with its own error. Raises NotMet at the limit, which is scaled by
    GREENROOM_TIMEOUT_FACTOR. An exception from `check` ends the wait: it means that the condition cannot be judged.
    """
    __tracebackhide__ = True
    reasons = Reasons(clock)
    limit_s = scaled(timeout_s)
    watched = tuple(watch)
    while True:
        for alive in watched:
            alive.check_alive()
        outcome = check()
        if inspect.isawaitable(outcome):
            outcome = await outcome
        if isinstance(outcome, NotYet):
            reasons.add(outcome.reason)
        elif outcome is None or outcome is False:
            reasons.add(f"the check returned {outcome}")
        else:
            return cast("T", outcome)
        if reasons.elapsed_s() >= limit_s:
            raise reasons.not_met(what, watched)
        await sleep(every_s)
