"""Everything reset raises on purpose. The bot's own errors (settings, requests) pass through beside these.

ResetError           1  something failed
├── Refused          2  not ours to touch, not confirmed, or the command was misused
└── SignInRefused    4  the homeserver accepts none of the credentials
"""

from __future__ import annotations


class ResetError(Exception):
    """Base of reset's own errors. `str()` is one line for a person."""

    exit_code = 1


class Refused(ResetError):
    exit_code = 2


class SignInRefused(ResetError):
    exit_code = 4
