"""Read blueprints: packaged ones by name, your own by path."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import yaml
from pydantic import BaseModel, ValidationError

from greenroom.errors import BlueprintError
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.blueprint_checks import choice, did_you_mean, mistakes
from greenroom.seed.places import Places, dotted
from greenroom.seed.repeat import missing_variables, repeated

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PACKAGED = resources.files("greenroom.seed") / "blueprints"


def packaged_blueprints() -> list[str]:
    """Return the names of the blueprints that come with Greenroom."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PACKAGED.iterdir() if entry.name.endswith(".yaml"))


def load_blueprint(name_or_path: str, settings: Mapping[str, int] | None = None) -> Blueprint:
    """Return a packaged blueprint by its name, or your own by its path. Raises BlueprintError.

    `settings` are values for its variables.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in name_or_path:
        try:
            return parse_blueprint(path.read_text(), str(path), settings)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise BlueprintError(str(path), "", f"cannot be read: {reason}") from None
    known = packaged_blueprints()
    if name_or_path not in known:
        own = [f"{name_or_path}.yaml"] if os.path.isfile(f"{name_or_path}.yaml") else []  # also of a name too long
        hint = did_you_mean(name_or_path, own or known)
        problem = f"no such blueprint{hint}; there are {', '.join(known)}, or name the path of a .yaml file"
        raise BlueprintError(name_or_path or "''", "", problem)
    packaged = _PACKAGED / f"{name_or_path}.yaml"
    return parse_blueprint(packaged.read_text(), f"{name_or_path}.yaml", settings)


def parse_blueprint(text: str, source: str, settings: Mapping[str, int] | None = None) -> Blueprint:
    """Return a checked blueprint. Raises BlueprintError with file, line and column of the first mistake."""
    places = Places(text, source)
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:  # a value that YAML cannot construct, such as an unknown !tag
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise BlueprintError(where, "", f"not YAML: {error.problem}") from None
    except ValueError as error:  # such as the date 2024-99-99
        raise BlueprintError(source, "", f"not YAML: {error}") from None
    except AttributeError:  # PyYAML's own, for `!!timestamp yesterday`
        raise BlueprintError(source, "", "not YAML: a !!timestamp is no date") from None
    if not isinstance(data, dict):
        raise BlueprintError(source, "", "must be a mapping with version, name, people and rooms")
    try:
        blueprint = Blueprint.model_validate(data)
    except ValidationError as error:
        # A misspelled field is also missing under its right name. Only the first of the two can be acted on.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        loc = tuple(part for part in first["loc"] if part != "constrained-int")  # pydantic's word for half of `repeat`
        where = places.of(loc, key=first["type"] == "extra_forbidden")
        raise BlueprintError(where, dotted(loc), _problem(first)) from None
    settings = settings or {}
    for name in settings:
        if name not in blueprint.variables:
            known = choice(name, list(blueprint.variables))
            raise BlueprintError(source, "", f"has no variable {name!r} to set{known}")
    for loc, name in missing_variables(blueprint):
        known = choice(name, list(blueprint.variables))
        raise BlueprintError(places.of(loc), dotted(loc), f"there is no variable {name!r}{known}")
    whole, origins = repeated(blueprint, settings)
    for loc, problem in mistakes(whole):
        written = ("rooms", origins[loc[1]], *loc[2:]) if loc[0] == "rooms" and isinstance(loc[1], int) else loc
        raise BlueprintError(places.of(written), dotted(written), problem)
    return whole


def _problem(error: ErrorDetails) -> str:
    """Return what is wrong, in words for a person."""
    if error["type"] == "extra_forbidden":
        fields = fields_at(error["loc"][:-1])
        hint = did_you_mean(str(error["loc"][-1]), fields)
        return f"there is no such field{hint or '; there are ' + ', '.join(fields)}"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    said = repr(error["input"])
    what = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] in ("model_type", "dict_type"):
        what = "must be a mapping"  # pydantic speaks of Python's types
    return f"{what}, not {said if len(said) <= 60 else said[:57] + '...'}"


def fields_at(loc: Sequence[int | str]) -> list[str]:
    """Return the fields of the model at a place of a blueprint."""
    model: type[BaseModel] = Blueprint
    for part in loc:
        if isinstance(part, str):
            inner = model.model_fields[part].annotation
            model = next(kind for kind in (*get_args(inner), inner) if isinstance(kind, type))
    return list(model.model_fields)
