"""Drops at its start what was due while it was down, though it promises to say it."""

from __future__ import annotations

import asyncio
import time

from good_reminder import Bot, good

CAUGHT_BY = "due-while-down"
SAYS = "was never answered, though a later question was"


class DropsWhatWasDue(Bot):
    def __init__(self) -> None:
        super().__init__()
        self.state["reminders"] = [one for one in self.state["reminders"] if one["due"] > time.time()]


if __name__ == "__main__":
    asyncio.run(good.main(DropsWhatWasDue))
