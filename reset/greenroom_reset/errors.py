"""What reset raises on purpose. The bot's own errors (settings, credentials, requests) pass through beside it."""

from __future__ import annotations


class Refused(Exception):
    """Not the bot's, not confirmed, or misused. `str()` is one line for a person."""

    exit_code = 2


class Ended(Exception):
    """A signal ended the run. `str()` is one line for a person."""

    exit_code = 1
