"""What reset raises on purpose. The bot's own errors (settings, credentials, requests) pass through beside it."""

from __future__ import annotations


class Refused(Exception):
    """Not the bot's, not confirmed, or misused. `str()` is one line for a person."""

    exit_code = 2


class NotOurs(Refused):
    """A file in the place of the bot's that has no mark of the bot. `setting` is where its path comes from."""

    def __init__(self, what: str, setting: str) -> None:
        super().__init__(f"{what}. Nothing was changed. Move it away by hand and run this again, or correct {setting}")


class Ended(Exception):
    """A signal ended the run. `str()` is one line for a person."""

    exit_code = 1
