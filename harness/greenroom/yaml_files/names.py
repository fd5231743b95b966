"""Hints for a name that does not exist."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

SHOWN = 12  # names in a message


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a hint at the known name that is most like the given one, or nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def choice(name: str, known: Collection[str]) -> str:
    """Return a hint at the name that was meant, or else at those that there are."""
    more = ", …" if len(known) > SHOWN else ""
    return did_you_mean(name, known) or f"; there are {', '.join([*known][:SHOWN]) or 'none'}{more}"
