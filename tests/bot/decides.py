"""A marker for tests of one verdict of the planner."""

from __future__ import annotations

import functools
from collections.abc import Callable

from greenroom_bot.rooms.planner import CONFLICTS, RoomOutcome


def decides(key: str) -> Callable[[Callable[[], RoomOutcome]], Callable[[], None]]:
    """Mark a test of the rule or conflict `key`: the verdict that the test returns must be of that kind."""

    def mark(test: Callable[[], RoomOutcome]) -> Callable[[], None]:
        @functools.wraps(test)
        def checked() -> None:
            verdict = test()
            assert (verdict.reason if key in CONFLICTS else verdict.outcome) == key
            assert (verdict.outcome == "conflict") == (key in CONFLICTS)

        del checked.__wrapped__  # or pytest would believe the annotation of the inner function
        return checked

    return mark
