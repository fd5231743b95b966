"""Remove secrets from what people read: known values, anything like an access token, settings with secret names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from greenroom.faults.transcript import REDACTED, redacted_text

SECRET_NAME = re.compile(r"password|passwd|secret|token|api_?key|credential|signing_key$", re.IGNORECASE)
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
