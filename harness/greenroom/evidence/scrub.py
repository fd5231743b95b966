"""Take secrets out of what is written down for people: by their values, by their looks, by the names of settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from greenroom.faults.transcript import REDACTED, redacted_text

SECRET_NAME = re.compile(r"password|passwd|secret|token|api_?key|credential|signing_key$", re.IGNORECASE)
SHORTEST = 6  # a shorter value would be found in innocent words


class Scrubber:
    """Knows the secrets of one test by their values."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, found))) if found else None

    def text(self, text: str) -> str:
        """Give a text without them, and without what looks like an access token."""
        return redacted_text(self._values.sub(REDACTED, text) if self._values else text)


def without_secrets(settings: Any) -> Any:
    """Copy settings, whatever their depth, without the values of those whose name tells a secret."""
    if isinstance(settings, Mapping):
        return {
            name: REDACTED if SECRET_NAME.search(str(name)) and isinstance(value, str) else without_secrets(value)
            for name, value in settings.items()
        }
    return [without_secrets(item) for item in settings] if isinstance(settings, list) else settings
