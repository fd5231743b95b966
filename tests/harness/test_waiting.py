"""A wait returns what it waited for, or reports in exact words why it did not happen."""

from __future__ import annotations

import pytest

from greenroom.errors import Died, Misuse, NotMet
from greenroom.waiting import NotYet, scaled, timeout_factor, until


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Dead:
    """A process that has ended."""

    def check_alive(self) -> None:
        raise Died("homeserver", "ended with exit code 1", tail=["out of memory"])


async def wait(check, *, timeout_s=1.0, watch=()):
    clock = Clock()
    return await until(check, "tea", timeout_s=timeout_s, every_s=0.25, watch=watch, clock=clock, sleep=clock.sleep)


async def test_a_met_condition_returns_its_value():
    """A check may be a plain function or a coroutine function."""

    async def ready():
        return "cup"

    assert await wait(lambda: "pot") == "pot"
    assert await wait(ready) == "cup"


async def test_an_unmet_condition_reports_each_reason_once_with_its_time(monkeypatch):
    """A reason that repeats is reported once, with the time when it was first seen."""
    monkeypatch.delenv("GREENROOM_TIMEOUT_FACTOR", raising=False)
    answers = iter([NotYet("cold water"), NotYet("cold water"), NotYet("no leaves"), NotYet("no leaves"), None])

    with pytest.raises(NotMet) as caught:
        await wait(lambda: next(answers))

    assert str(caught.value) == (
        "waited 1.0 s for tea; it did not happen\n"
        "  seen instead:\n"
        "      0.00 s  cold water\n"
        "      0.50 s  no leaves\n"
        "      1.00 s  the check returned None"
    )


async def test_a_dead_server_ends_the_wait_at_once_with_its_last_lines():
    """If the server has ended, the wait raises the server's error and does not call the check."""
    with pytest.raises(Died) as caught:
        await wait(lambda: pytest.fail("asked"), timeout_s=3600, watch=[Dead()])

    assert str(caught.value) == "homeserver died: ended with exit code 1\n  last log lines:\n    out of memory"


async def test_an_error_in_a_check_is_not_taken_for_unmet():
    """An exception in a check ends the wait and is raised unchanged."""

    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await wait(broken)


def test_one_factor_stretches_every_limit(monkeypatch):
    """GREENROOM_TIMEOUT_FACTOR multiplies every time limit, for slow machines."""
    monkeypatch.setenv("GREENROOM_TIMEOUT_FACTOR", "2.5")
    assert scaled(4) == 10


@pytest.mark.parametrize("text", ["fast", "0", "-1", ""])
def test_a_factor_that_is_none_is_refused(text):
    """A misspelt GREENROOM_TIMEOUT_FACTOR is refused and does not silently count as 1."""
    with pytest.raises(Misuse, match="GREENROOM_TIMEOUT_FACTOR must be a number above 0"):
        timeout_factor({"GREENROOM_TIMEOUT_FACTOR": text})
