"""Which image a homeserver runs from, and whether the engine has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from greenroom.errors import Unavailable
from greenroom.homeserver.container.engine import Engine, reason
from greenroom.homeserver.kind import HomeserverKind
from greenroom.spelling import command

DISABLED = "TESTCONTAINERS_RYUK_DISABLED"


def set_up_reaper(engine: Engine, *, wanted: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Turn Ryuk, testcontainers' reaper, on or off for the next container; return whether it is on.

    testcontainers reads its environment once, at import, so its settings object is changed and not the environment.
    `wanted` is False for a container that will outlive us, or whose data will.
    """
    from testcontainers.core.config import testcontainers_config

    on = wanted and DISABLED not in environ and is_present(engine, testcontainers_config.ryuk_image)
    on = on or (wanted and environ.get(DISABLED, "").lower() in ("false", "no", "0"))
    if on and not _starts():
        on = False
    testcontainers_config.ryuk_disabled = not on
    return on


def pull_reaper(engine: Engine) -> None:
    """Pull Ryuk. Called right after a homeserver's image was pulled, because then a registry answers."""
    from testcontainers.core.config import testcontainers_config

    with suppress(Exception):  # without Ryuk our own sweep tidies up
        engine.client.images.pull(testcontainers_config.ryuk_image)


def _starts() -> bool:
    """Start Ryuk once per process; return whether it runs. Rootless engines and podman may refuse it their socket."""
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


@dataclass(frozen=True)
class Candidates:
    """Images to look for, best first. Only `pullable` can be pulled; an image of ours is in no registry."""

    names: tuple[str, ...]
    pullable: str


def candidates(kind: HomeserverKind, environ: Mapping[str, str] = os.environ) -> Candidates:
    """Return the images for a kind: only the one that the environment names, else our own and the official one."""
    if named := environ.get(kind.image_variable):
        return Candidates((named,), named)
    return Candidates((kind.own_image, kind.image) if kind.own_image else (kind.image,), kind.image)


def find_image(engine: Engine, kind: HomeserverKind) -> str | None:
    """Return the first candidate that the engine has, or None."""
    return next((name for name in candidates(kind).names if is_present(engine, name)), None)


def is_present(engine: Engine, name: str) -> bool:
    """Return whether the engine has an image, without pulling it."""
    import docker.errors

    try:
        engine.client.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def present_image(engine: Engine, kind: HomeserverKind) -> str:
    """Return an image that the engine has. Raises Unavailable, with a cure, if it has none; pulls nothing."""
    if found := find_image(engine, kind):
        return found
    missing = " or ".join(candidates(kind).names)
    raise Unavailable(f"{kind} in a container", f"the engine has no image {missing}", cure(kind))


def ensure_image(engine: Engine, kind: HomeserverKind) -> str:
    """Return an image that the engine has, or pull one. Raises Unavailable, with a cure, if that fails."""
    import docker.errors
    import requests

    if found := find_image(engine, kind):
        return found
    wanted = candidates(kind)
    try:
        engine.client.images.pull(wanted.pullable)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise Unavailable(
            f"{kind} in a container",
            f"the engine has no image {' or '.join(wanted.names)}, and pulling fails ({_short(reason(error))})",
            cure(kind),
        ) from None
    pull_reaper(engine)
    return wanted.pullable


def cure(kind: HomeserverKind, environ: Mapping[str, str] = os.environ) -> str:
    """Return in one line how to get an image."""
    if environ.get(kind.image_variable):
        instead = f" and `{command('image')}`" if kind.own_image else ""
        return f"another image in {kind.image_variable}, or none there{instead}"
    if kind.own_image:
        return command("image")
    return f"docker pull {kind.image} where a registry answers, or name another image in {kind.image_variable}"


def _short(text: str, limit: int = 160) -> str:
    first = text.splitlines()[0] if text else ""
    return first if len(first) <= limit else first[: limit - 1] + "…"
