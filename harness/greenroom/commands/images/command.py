"""`image`: build images and report the progress."""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.commands.dev.console import Console
from greenroom.commands.images.build import build
from greenroom.commands.images.catalog import IMAGES, checkout, image_named
from greenroom.homeserver.container.engine import connect


def build_images(names: Sequence[str], *, base: str = "", force: bool = False, console: Console | None = None) -> int:
    """Build the named images ("all" for all of them). Return the exit code."""
    console = console or Console()
    chosen = list(IMAGES.values()) if "all" in names else [image_named(name) for name in names]
    folder = checkout()
    engine = connect()
    try:
        for image in chosen:
            build(engine, image, folder, console.say, base=base, force=force)
    finally:
        engine.close()
    return 0
