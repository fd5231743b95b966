"""Read promises files and check them against the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from greenroom.bot_process import split_command
from greenroom.errors import Misuse
from greenroom.scenarios.catalogue import find_scenario
from greenroom.scenarios.promises import BotPromises


def load_promises(path: Path) -> BotPromises:
    """Read a promises file. Raises Misuse with the place of the first mistake."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None
    except yaml.YAMLError as error:
        raise Misuse(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return parse_promises(data, str(path), path.parent)


def parse_promises(data: Any, source: str, folder: Path) -> BotPromises:
    """Check promises. A relative `cwd` becomes absolute, below `folder`. Raises Misuse with the first mistake."""
    if not isinstance(data, dict):
        raise Misuse(f"{source}: must be a mapping with at least `command`")
    try:
        promises = BotPromises.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Misuse(f"{source}: {where}: {first['msg']}") from None
    try:
        for name in promises.promises.keys() - {"default"}:
            find_scenario(name).way_of(promises)
    except Misuse as error:
        raise Misuse(f"{source}: promises: {error}") from None
    split_command(promises.command)
    return promises.model_copy(update={"cwd": (folder / promises.cwd).resolve()})
