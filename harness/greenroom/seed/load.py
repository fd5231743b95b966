"""Read blueprints: packaged ones by name, your own by path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from greenroom.errors import BlueprintError
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.blueprint_checks import mistakes
from greenroom.seed.repeat import missing_variables, repeated
from greenroom.yaml_files.checked import checked, load_yaml, read_text
from greenroom.yaml_files.names import choice, did_you_mean
from greenroom.yaml_files.places import Places, dotted

_PACKAGED = resources.files("greenroom.seed") / "blueprints"


def packaged_blueprints() -> list[str]:
    """Return the names of the blueprints that come with Greenroom."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PACKAGED.iterdir() if entry.name.endswith(".yaml"))


def is_path(name: str) -> bool:
    """Return whether a blueprint is named by its path."""
    return Path(name).suffix in (".yaml", ".yml") or "/" in name


def load_blueprint(name_or_path: str, settings: Mapping[str, int] | None = None) -> Blueprint:
    """Return a packaged blueprint by its name, or your own by its path. Raises BlueprintError.

    `settings` are values for its variables.
    """
    path = Path(name_or_path)
    if is_path(name_or_path):
        return parse_blueprint(read_text(path, BlueprintError), str(path), settings)
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
    places = Places(text, source, BlueprintError)
    data = load_yaml(text, source, BlueprintError)
    blueprint = checked(Blueprint, data, places, needs="version, name, people and rooms", wrong=BlueprintError)
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
