"""The mark of a planner test: which rule or conflict it decides."""

from __future__ import annotations

import functools
from collections.abc import Callable

from greenroom_bot.rooms.planner import CONFLICTS, RoomOutcome

DECIDED: set[str] = set()
"""Keys of RULES and CONFLICTS for which there is a test."""


def decides(key: str) -> Callable[[Callable[[], RoomOutcome]], Callable[[], None]]:
    """Mark a test of the rule or conflict `key`: the verdict that it returns has to be of that kind."""
    DECIDED.add(key)

    def mark(test: Callable[[], RoomOutcome]) -> Callable[[], None]:
        @functools.wraps(test)
        def checked() -> None:
            verdict = test()
            assert (verdict.reason if key in CONFLICTS else verdict.outcome) == key
            assert (verdict.outcome == "conflict") == (key in CONFLICTS)

        del checked.__wrapped__  # or pytest would believe the annotation of the inner function
        return checked

    return mark
