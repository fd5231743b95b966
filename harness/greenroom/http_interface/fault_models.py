"""The bodies that put a fault in force: one model for each method of FaultProxy, made from its signature."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from greenroom.faults import FaultProxy
from greenroom.faults.rules import Rule

KINDS = (
    "rate_limited",
    "error",
    "html",
    "unknown_token",
    "drop_response",
    "repeat",
    "hold_response",
    "stall",
    "delay",
    "cut",
    "truncate",
    "offline",
)
"""The methods of FaultProxy that put a fault in force."""


class Strict(BaseModel):
    """A body in which a field that does not exist is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Choice(Strict):
    """Which requests a fault hits: those that meet all conditions. Only one fault hits a request: the oldest."""

    method: str | None = Field(default=None, description="the HTTP method")
    path: str | None = Field(default=None, description="a part of the path, without the query")
    user: str | None = Field(default=None, description="the user id of who sends the request")
    times: int | None = Field(default=None, ge=1, description="the fault ends after so many hits")
    skip: int = Field(default=0, ge=0, description="so many matching requests pass first")
    probability: float = Field(default=1.0, gt=0, le=1, description="the chance that a matching request is hit")
    containing: str | None = Field(default=None, description="hit only answers of the homeserver that contain this")


def _model(kind: str) -> type[BaseModel]:
    method = getattr(FaultProxy, kind)
    hints, parameters = get_type_hints(method), inspect.signature(method).parameters
    takes_choice = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    fields: dict[str, Any] = {
        name: (hints[name], ... if one.default is inspect.Parameter.empty else one.default)
        for name, one in parameters.items()
        if name != "self" and one.kind is not inspect.Parameter.VAR_KEYWORD
    }
    fields["kind"] = (Literal[kind], ...)
    name = f"{kind.title().replace('_', '')}Fault"
    base = Choice if takes_choice else Strict
    return create_model(name, __base__=base, __doc__=inspect.getdoc(method), **fields)


FAULTS: dict[str, type[BaseModel]] = {kind: _model(kind) for kind in KINDS}
"""By the value of the field `kind`."""


def put_in_force(proxy: FaultProxy, body: BaseModel) -> Rule:
    """Put the fault of a body in force. Raises Misuse for values that no fault can have."""
    values = body.model_dump()
    rule: Rule = getattr(proxy, values.pop("kind"))(**values)
    return rule
