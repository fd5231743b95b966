"""Remove secrets from what people read: known values, anything like an access token, settings with secret names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from greenroom.faults.transcript import REDACTED, redacted_text

SECRET_NAME = re.compile(r"password|passwd|secret|token|api_?key|credential|signing_key$", re.IGNORECASE)
# A secret's name with `:` or `=`, as YAML, TOML, JSON and ini files have it. A value without quotes fills its line.
SETTING_NAME = rf"""["']?[\w.-]*(?:{SECRET_NAME.pattern.removesuffix("$")})[\w.-]*["']?\s*[:=]"""
SETTING = re.compile(
    rf"""(?P<start>{SETTING_NAME}\s*)(?:["']{{3}}.*|"(?:\\.|[^"\\])*"|'(?:''|[^'])*'|\S.*)""", re.IGNORECASE
)
# What stands behind the name if the value is in the lines below, but for a comment.
OPENS = re.compile(r"""\s*(?P<opened>[|>][+-]?\d?|\[|\{|"{3}|'{3}|)\s*(?:#.*)?$""")
SHORTEST = 6  # a shorter value also occurs in harmless words


class Scrubber:
    """Removes the known secrets of one test."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, found))) if found else None

    def text(self, text: str) -> str:
        """Return a text without the secrets and without anything that looks like an access token."""
        return redacted_text(self._values.sub(REDACTED, text) if self._values else text)


def without_secrets(settings: Any) -> Any:
    """Return a copy of nested settings in which a value with a secret's name is redacted."""
    if isinstance(settings, Mapping):
        return {
            name: REDACTED if SECRET_NAME.search(str(name)) and isinstance(value, str) else without_secrets(value)
            for name, value in settings.items()
        }
    return [without_secrets(item) for item in settings] if isinstance(settings, list) else settings


def lines_without_secrets(text: str) -> str:
    """Return a configuration file of any format in which a value with a secret's name is redacted, line by line."""
    lines: list[str] = []
    value: _Value | None = None
    for line in text.splitlines():
        if value is not None and value.goes_on(line):
            lines.append(line[: _indent(line)] + REDACTED if line.strip() else line)
            continue
        names = list(re.finditer(SETTING_NAME, line, re.IGNORECASE))
        value = _Value(line, names[-1]) if names else None
        whole, kept = (line, "") if value is None else value.parts
        lines.append(SETTING.sub(rf"\g<start>{REDACTED}", whole) + kept)
    return "\n".join(lines) + "\n" * text.endswith("\n")


class _Value:
    """The value of a secret's name, which may go on in the lines below."""

    def __init__(self, line: str, name: re.Match[str]) -> None:
        value = line[name.end() :].strip()
        opens = OPENS.match(line, name.end())
        # What to redact of the line, and what to keep as it is.
        self.parts = (line[: name.start()], line[name.start() : opens.end("opened")]) if opens else (line, "")
        self._column = name.start()
        self._may_have_items = opens is not None
        self._brackets = _brackets(value) if value.startswith(("[", "{")) else 0
        self._quotes = value[:3] if value.startswith(('"""', "'''")) and value.count(value[:3]) == 1 else ""

    def goes_on(self, line: str) -> bool:
        """Return whether a later line belongs to the value. An empty line does not end it."""
        text = line.strip()
        if self._quotes:
            if self._quotes in line:
                self._quotes = ""
            return True
        if self._brackets > 0:
            self._brackets += _brackets(text)
            return self._brackets > 0 or not set(text) <= set("]},")
        is_item = self._may_have_items and _indent(line) == self._column and text.startswith("- ")
        return not text or _indent(line) > self._column or is_item


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _brackets(text: str) -> int:
    """Return how many brackets a text opens and does not close."""
    return sum(map(text.count, "[{")) - sum(map(text.count, "]}"))
