"""Remove secrets from what people read: known values, anything like an access token, settings with secret names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from greenroom.faults.transcript import REDACTED, redacted_text

SECRET_NAME = re.compile(r"password|passwd|secret|token|api_?key|credential|signing_key$", re.IGNORECASE)
# `name: value` and `name = value`, as YAML, TOML, JSON and ini files have it. A value without quotes fills its line.
SETTING = re.compile(
    rf"""(?P<start>[\w.-]*(?:{SECRET_NAME.pattern.removesuffix("$")})[\w.-]*["']?\s*[:=]\s*)"""
    r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'].*)""",
    re.IGNORECASE,
)
BLOCK = re.compile(r"[|>][+-]?\d?\s*$")  # YAML: the value is in the lines below, which are indented further
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
    below: int | None = None  # the indentation of a name whose value is in the next lines
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip())
        if below is not None and not line.strip():  # an empty line does not end such a value
            lines.append(line)
            continue
        if below is not None and indent > below:
            lines.append(f"{line[:indent]}{REDACTED}\n")
            continue
        below = None
        name = line.partition(":")[0]
        if SECRET_NAME.search(name) and BLOCK.search(line):
            below = indent
            lines.append(line)
        else:
            lines.append(SETTING.sub(rf"\g<start>{REDACTED}", line))
    return "".join(lines)
