"""The user's cache: a folder for what can be made again, shared by all projects."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

FOLDER = "GREENROOM_CACHE_DIR"


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of what can be made again: GREENROOM_CACHE_DIR, or `greenroom` in the user's cache."""
    if chosen := environ.get(FOLDER):
        return Path(chosen).absolute()
    if (base := environ.get("XDG_CACHE_HOME")) and Path(base).is_absolute():  # its specification: ignore other ones
        return Path(base) / "greenroom"
    try:
        return Path.home() / ".cache" / "greenroom"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / f"greenroom-cache-{os.getuid()}"
