"""A bot together with the question that it was asked, so that an error can say what became of the question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from greenroom.errors import Cause


class Askable(Protocol):
    """A running bot that can say why it did not do what it was asked."""

    log_path: Path

    @property
    def user_id(self) -> str:
        """The bot's account."""

    def check_alive(self) -> None:
        """Raise Died if the bot has ended."""

    def log_tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of the bot's log."""

    def causes(self, *, since: float, asked: str | None = None, room: str | None = None) -> list[Cause]:
        """Return why the bot has not done what was expected since then, the best cause first."""

    def repeats(self) -> list[Cause]:
        """Return what the bot has sent more than once."""


@dataclass(frozen=True)
class AskedBot:
    """A bot that was asked something, for `watch=` of a wait. `at`: when, in seconds since the epoch."""

    bot: Askable
    event_id: str | None
    room: str | None
    at: float

    @property
    def user_id(self) -> str:
        """The bot's account."""
        return self.bot.user_id

    @property
    def log_path(self) -> Path:
        """The bot's log."""
        return self.bot.log_path

    def check_alive(self) -> None:
        """Raise Died if the bot has ended."""
        __tracebackhide__ = True
        self.bot.check_alive()

    def log_tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of the bot's log."""
        return self.bot.log_tail(lines)

    def causes(self, *, since: float) -> list[Cause]:
        """Return why the bot has not done what it was asked, the best cause first."""
        return self.bot.causes(since=min(since, self.at), asked=self.event_id, room=self.room)

    def repeats(self) -> list[Cause]:
        """Return what the bot has sent more than once."""
        return self.bot.repeats()
