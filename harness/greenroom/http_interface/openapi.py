"""The OpenAPI document of the HTTP interface, made from the table of operations and its models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, Field, TypeAdapter

from greenroom.http_interface.models import Problem
from greenroom.http_interface.operations import OPERATIONS, Operation

Mode = Literal["validation", "serialization"]
Key = tuple[str, str]
ALWAYS = {
    HTTPStatus.UNAUTHORIZED: "the key is missing or wrong",
    HTTPStatus.FORBIDDEN: "the header Host names another host",
}
WRONG_INPUT = {HTTPStatus.UNPROCESSABLE_ENTITY: "the body or the query is wrong; `where` is the place"}
SHARED = {**ALWAYS, **WRONG_INPUT}
ABOUT = (
    "The harness of one `greenroom run --http -- COMMAND`, for tests in any language. GREENROOM_URL is the server, "
    "GREENROOM_KEY the key. Rooms and messages come from the client-server API of Matrix itself."
)


def document_text() -> str:
    """Return the document as JSON text."""
    return json.dumps(document(), indent=2) + "\n"


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    wanted = list(_types())
    schemas, shared = TypeAdapter.json_schemas(wanted, ref_template="#/components/schemas/{model}")
    by_key: dict[Key, Any] = {key: schemas[key, mode] for key, mode, _ in wanted}
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS.values():
        paths.setdefault(one.path, {})[one.method.lower()] = _described(one, by_key)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Greenroom", "version": "1", "description": ABOUT},
        "servers": [{"url": "{GREENROOM_URL}", "variables": {"GREENROOM_URL": {"default": "http://127.0.0.1"}}}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {status.name: _problem(meaning, by_key) for status, meaning in SHARED.items()},
            "schemas": shared["$defs"],
        },
    }


def _types() -> Iterator[tuple[Key, Mode, TypeAdapter[Any]]]:
    yield ("", "problem"), "serialization", TypeAdapter(Problem)
    for one in OPERATIONS.values():
        yield (one.name, "answer"), "serialization", TypeAdapter(one.answer)
        if one.body is not None:
            yield (one.name, "body"), "validation", _adapter(one.body)


def _adapter(models: type[BaseModel] | Mapping[str, type[BaseModel]]) -> TypeAdapter[Any]:
    if not isinstance(models, Mapping):
        return TypeAdapter(models)
    union: Any = Union[tuple(models.values())]  # noqa: UP007 - of a table
    return TypeAdapter(Annotated[union, Field(discriminator="kind")])


def _described(one: Operation, schemas: dict[Key, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", one.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    if one.query is not None:
        for name, schema in one.query.model_json_schema()["properties"].items():
            parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    answers = {str(one.status): {"description": one.status.phrase, **_json(schemas[one.name, "answer"])}}
    for status, meaning in problems_of(one).items():
        shared = {"$ref": f"#/components/responses/{status.name}"}
        answers[str(int(status))] = shared if status in SHARED else _problem(meaning, schemas)
    described: dict[str, Any] = {"operationId": one.name, "summary": one.summary}
    if parameters:
        described["parameters"] = parameters
    if one.body is not None:
        described["requestBody"] = {"required": True, **_json(schemas[one.name, "body"])}
    return {**described, "responses": answers}


def problems_of(one: Operation) -> dict[HTTPStatus, str]:
    """Return the answers of an operation that are no success, with their meaning."""
    wrong = WRONG_INPUT if one.body is not None or one.query is not None else {}
    return {**ALWAYS, **one.problems, **wrong}


def _problem(meaning: str, schemas: dict[Key, Any]) -> dict[str, Any]:
    return {"description": meaning, **_json(schemas["", "problem"], "application/problem+json")}


def _json(schema: Any, kind: str = "application/json") -> dict[str, Any]:
    return {"content": {kind: {"schema": schema}}}
