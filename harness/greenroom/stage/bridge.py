"""What the page asks of the `dev` that serves it. The page itself starts, stops and stores nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from greenroom.faults import FaultProxy
from greenroom.stage.seeing.log_lines import Line


@dataclass(frozen=True)
class PartFacts:
    """What is known of the bot or of the homeserver right now."""

    what: str  # the bot's command, or the homeserver's URL
    handle: str = ""  # `pid 7` or `container abc`; empty if it does not run
    since: datetime | None = None
    frozen: bool = False
    ended: str = ""  # how it ended, if nobody stopped it

    @property
    def runs(self) -> bool:
        """Whether it runs, frozen or not."""
        return bool(self.handle)

    @property
    def word(self) -> str:
        """Its state in a word."""
        if not self.runs:
            return "dead" if self.ended else "stopped"
        return "frozen" if self.frozen else "running"


@dataclass(frozen=True)
class DriftRow:
    """One room: what the start-up of the bot would do with it, and why."""

    room: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Drift:
    """How far the bot's records and the homeserver are apart."""

    verdict: str  # "in step", "drift", "cannot tell", …
    reason: str = ""  # for the verdict, where there are no rows
    rows: Sequence[DriftRow] = ()


class Bridge(Protocol):
    """The `dev` that serves the page."""

    faults: FaultProxy

    @property
    def bot(self) -> PartFacts:
        """The bot right now."""

    @property
    def homeserver(self) -> PartFacts:
        """The homeserver right now."""

    @property
    def bot_restarts(self) -> int:
        """How often the bot was started after the first time."""

    def tail(self, part: str) -> Callable[[], list[Line]]:
        """Return a function that returns the lines of a log since its last call."""

    async def ask(self, action: str, part: str = "", name: str = "") -> list[str]:
        """Do what a command of that name does, after what others have asked. Raises HarnessError."""

    async def drift(self) -> Drift:
        """Compare the bot's records with the homeserver, as `status` does."""

    def snapshots(self) -> list[str]:
        """Return the names of the snapshots that can be restored."""
