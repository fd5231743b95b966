"""Ryuk, testcontainers' own reaper: used where its image is here, else our sweep by label does its work.

It removes a killed run's containers within seconds; our sweep does so when the next run begins. Pulling Ryuk would
delay every start on a machine without a registry, so it is pulled only together with a homeserver's image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from harness.homeserver.container_engine import Engine
from harness.homeserver.container_image import is_present

DISABLED = "TESTCONTAINERS_RYUK_DISABLED"


def set_up_reaper(engine: Engine, *, wanted: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Turn Ryuk on or off for the next container of this process; say whether it is on.

    testcontainers reads its environment once, at import, so its settings object is changed and not the environment.
    `wanted` is False for a container that is to outlive us, or whose data is.
    """
    from testcontainers.core.config import testcontainers_config

    on = wanted and DISABLED not in environ and is_present(engine, testcontainers_config.ryuk_image)
    on = on or (wanted and environ.get(DISABLED, "").lower() in ("false", "no", "0"))
    if on and not _starts():
        on = False
    testcontainers_config.ryuk_disabled = not on
    return on


def pull_reaper(engine: Engine) -> None:
    """Pull Ryuk. Called right after a homeserver's image was pulled, so that a registry is known to answer."""
    from testcontainers.core.config import testcontainers_config

    with suppress(Exception):  # without it our sweep does
        engine.client.images.pull(testcontainers_config.ryuk_image)


def _starts() -> bool:
    """Start Ryuk once per process. Rootless engines and podman may refuse it their socket: then we do without."""
    from testcontainers.core import container
    from testcontainers.core.config import testcontainers_config

    testcontainers_config.ryuk_disabled = False
    reaper: Any = container.Reaper
    try:
        reaper.get_instance()
    except Exception:
        reaper.delete_instance()
        return False
    return True
