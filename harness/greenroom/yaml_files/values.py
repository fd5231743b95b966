"""Values of a file: the models that they belong to, and what YAML reads differently from what a person means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from greenroom.errors import Misuse

T = TypeVar("T")


class Strict(BaseModel):
    """A part of a file, in which a field that does not exist is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def passing(check: Callable[[T], object]) -> AfterValidator:
    """Return the validator of values for which `check` raises no Misuse. A value stays as it is."""

    def validated(value: T) -> T:
        try:
            check(value)
        except Misuse as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(validated)


def _as_text(version: Any) -> Any:
    return str(version) if isinstance(version, int) and not isinstance(version, bool) else version


RoomVersion = Annotated[str, BeforeValidator(_as_text)]
"""A room version. 11 without quotes is a number for YAML."""
