"""The browser of the browser tests: Debian's Chromium, or one of the other names under which it is installed."""

from __future__ import annotations

import os
import shutil

import pytest

from greenroom.session import is_required

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Return the path of the browser. Without one, skip the test, or fail it if GREENROOM_REQUIRE names `browser`."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    why = "no Chromium is installed here; try: apt-get install chromium"
    if is_required("browser"):
        pytest.fail(why)
    pytest.skip(why)


def options() -> tuple[str, ...]:
    """Return the options that Chromium needs for this user."""
    return ("--no-sandbox",) if os.getuid() == 0 or os.environ.get("CI") else ()  # containers of CI have no sandbox
