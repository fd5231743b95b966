"""Values that YAML reads differently from what a person means."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator


def _as_text(version: Any) -> Any:
    return str(version) if isinstance(version, int) and not isinstance(version, bool) else version


RoomVersion = Annotated[str, BeforeValidator(_as_text)]
"""A room version. 11 without quotes is a number for YAML."""
