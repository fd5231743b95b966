"""Read a YAML text into a pydantic model, or raise the first mistake in words for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from greenroom.errors import WrongFile
from greenroom.yaml_files.names import did_you_mean
from greenroom.yaml_files.places import Places, dotted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# pydantic speaks of Python's types
YAML_TYPES = {
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "path_type": "must be a path",
}

Model = TypeVar("Model", bound=BaseModel)


def read_text(path: Path, wrong: type[WrongFile] = WrongFile) -> str:
    """Return the text of a file. Raises `wrong` in one line if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise wrong(str(path), "", f"cannot be read: {reason}") from None


def load_yaml(text: str, source: str, wrong: type[WrongFile] = WrongFile) -> Any:
    """Return the data of a YAML text. Raises `wrong` with the place if it is not YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:  # a value that YAML cannot construct, such as an unknown !tag
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise wrong(where, "", f"not YAML: {error.problem}") from None
    except ValueError as error:  # such as the date 2024-99-99
        raise wrong(source, "", f"not YAML: {error}") from None
    except AttributeError:  # PyYAML's own, for `!!timestamp yesterday`
        raise wrong(source, "", "not YAML: a !!timestamp is no date") from None


def checked(model: type[Model], data: Any, places: Places, *, needs: str, wrong: type[WrongFile] = WrongFile) -> Model:
    """Return data as a model. `needs` is what a file holds at least. Raises `wrong` with the place of a mistake."""
    if not isinstance(data, dict):
        raise wrong(places.source, "", f"must be a mapping with {needs}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # A misspelled field is also missing under its right name. Only the first of the two can be acted on.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        loc = tuple(part for part in places.written(first["loc"]) if part != "[key]")  # pydantic: a key is wrong
        where = places.of(loc, key=first["type"] == "extra_forbidden")
        raise wrong(where, dotted(loc), _problem(first, model)) from None


def _problem(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is wrong, in words for a person."""
    if error["type"] == "extra_forbidden":
        fields = fields_at(model, error["loc"][:-1])
        hint = did_you_mean(str(error["loc"][-1]), fields)
        return f"there is no such field{hint or '; there are ' + ', '.join(fields)}"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    said = repr(error["input"])
    what = error["msg"][0].lower() + error["msg"][1:]
    what = YAML_TYPES.get(error["type"], what)
    return f"{what}, not {said if len(said) <= 60 else said[:57] + '...'}"


def fields_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Return the fields of the model at a place of a file, by the names that people write."""
    for part in loc:
        if isinstance(part, str):
            inner = model.model_fields[part].annotation
            model = next(kind for kind in (*get_args(inner), inner) if isinstance(kind, type))
    return [field.alias or name for name, field in model.model_fields.items()]
