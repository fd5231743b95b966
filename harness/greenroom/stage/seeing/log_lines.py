"""The lines of a log with a level each, whoever wrote them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

LEVELS = ("debug", "info", "warning", "error")  # in the order of their weight
LETTERS = {"debug": "D", "info": "I", "warning": "W", "error": "E"}
SAME = {"warn": "warning", "critical": "error", "fatal": "error", "exception": "error", "trace": "debug"}
WORD = re.compile(r"\b(TRACE|DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b")
NEAR_START = 60  # characters: further on, the word is part of what is said
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Line:
    """One line for a person, and its level."""

    level: str
    text: str

    @property
    def letter(self) -> str:
        """The level as a letter, for those who cannot tell its colour."""
        return LETTERS[self.level]


class Levels:
    """Tells the level of each line of a log in turn. A traceback has no levels of its own: all of it is an error."""

    def __init__(self) -> None:
        self._in_traceback = False

    def of(self, raw: str) -> str:
        """Return the level of the next line as it stands in the log."""
        said = _structured(raw) or _word(raw)
        if said:
            self._in_traceback = False
            return said
        self._in_traceback = self._in_traceback or raw.startswith(TRACEBACK)
        return "error" if self._in_traceback else "info"


def _structured(raw: str) -> str:
    if not raw.startswith("{"):
        return ""
    try:
        entry = json.loads(raw)
    except ValueError:
        return ""
    level = str(entry.get("level", "info")).lower() if isinstance(entry, dict) else ""
    return _known(level)


def _word(raw: str) -> str:
    found = WORD.search(raw[:NEAR_START])
    return _known(found[1].lower()) if found else ""


def _known(level: str) -> str:
    level = SAME.get(level, level)
    return level if level in LEVELS else ""
