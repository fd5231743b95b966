"""Read blueprints: packaged ones by name, your own by path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

from greenroom.errors import BlueprintError
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.blueprint_checks import mistakes

_PACKAGED = resources.files("greenroom.seed") / "blueprints"


def packaged_blueprints() -> list[str]:
    """Return the names of the blueprints that come with Greenroom."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PACKAGED.iterdir() if entry.name.endswith(".yaml"))


def load_blueprint(name_or_path: str) -> Blueprint:
    """Return a packaged blueprint by its name, or your own by its path. Raises BlueprintError."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in name_or_path:
        try:
            return parse_blueprint(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise BlueprintError(str(path), "", f"cannot be read: {reason}") from None
    if name_or_path not in packaged_blueprints():
        known = ", ".join(packaged_blueprints())
        raise BlueprintError(
            name_or_path, "", f"no such blueprint; there are {known}, or name the path of a .yaml file"
        )
    packaged = _PACKAGED / f"{name_or_path}.yaml"
    return parse_blueprint(packaged.read_text(), f"{name_or_path}.yaml")


def parse_blueprint(text: str, source: str) -> Blueprint:
    """Return a checked blueprint. Raises BlueprintError with the path of the first mistake."""
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BlueprintError(source, where, f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise BlueprintError(source, "", f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise BlueprintError(source, "", "must be a mapping with version, name, people and rooms")
    try:
        blueprint = Blueprint.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise BlueprintError(source, _dotted(first["loc"]), _plain(first["msg"])) from None
    for where, problem in mistakes(blueprint):
        raise BlueprintError(source, where, problem)
    return blueprint


def _dotted(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "there is no such field")
