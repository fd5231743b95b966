"""The HTTP server: it lets in who has the key, reads bodies and queries, and answers problems in one form."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from greenroom.errors import HarnessError, MatrixRefused, Misuse, StartFailed, Unavailable, Unreachable, WrongFile
from greenroom.http_interface.models import Problem
from greenroom.http_interface.operations import OPERATIONS, Asked, Operation
from greenroom.http_interface.rehearsal import Refused, Rehearsal
from greenroom.yaml_files.checked import checked
from greenroom.yaml_files.places import Places

HOST = "127.0.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Interface:
    """A running HTTP interface."""

    url: str
    key: str

    @property
    def variables(self) -> dict[str, str]:
        """What a program must know to use it."""
        return {"GREENROOM_URL": self.url, "GREENROOM_KEY": self.key}


@asynccontextmanager
async def interface(rehearsal: Rehearsal) -> AsyncIterator[Interface]:
    """Serve a rehearsal on a free port of loopback for the length of an `async with`."""
    key = secrets.token_urlsafe(24)
    app = web.Application(middlewares=[_problems, _guard(key)])
    for one in OPERATIONS.values():
        app.router.add_route(one.method, one.path, _handler(one, rehearsal))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield Interface(f"http://{HOST}:{runner.addresses[0][1]}", key)
    finally:
        await runner.cleanup()


def _guard(key: str) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        # A web page can make its own name lead to this address. Its requests then have that name as Host.
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        if request.host not in (f"{HOST}:{port}", f"localhost:{port}"):
            raise Refused(HTTPStatus.FORBIDDEN, f"the header Host must be {HOST}:{port}, not {request.host}")
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), f"Bearer {key}".encode()):
            raise Refused(HTTPStatus.UNAUTHORIZED, "send the header `Authorization: Bearer …` with GREENROOM_KEY")
        return await handler(request)

    return guard


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in one form."""
    try:
        return await handler(request)
    except WrongFile as error:
        said = f"{error.where}: {error.problem}" if error.where else error.problem
        return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, said, error.where or None)
    except web.HTTPException as error:
        return _problem(HTTPStatus(error.status), f"{request.method} {request.path}: {error.reason}")
    except HarnessError as error:
        return _problem(status_of(error), str(error))


def status_of(error: HarnessError) -> HTTPStatus:
    """Return the status that says whose mistake an error is."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, MatrixRefused):
        return HTTPStatus.CONFLICT if error.errcode == "M_USER_IN_USE" else HTTPStatus.BAD_GATEWAY
    kinds: dict[type[HarnessError], HTTPStatus] = {
        Misuse: HTTPStatus.UNPROCESSABLE_ENTITY,
        Unavailable: HTTPStatus.NOT_IMPLEMENTED,
        StartFailed: HTTPStatus.FAILED_DEPENDENCY,
        Unreachable: HTTPStatus.SERVICE_UNAVAILABLE,
    }
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def _problem(status: HTTPStatus, detail: str, where: str | None = None) -> web.Response:
    problem = Problem(title=status.phrase, status=status, detail=detail, where=where)
    text = problem.model_dump_json(exclude_none=True)
    return web.Response(status=status, text=text, content_type="application/problem+json")


def _handler(one: Operation, rehearsal: Rehearsal) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body = None if one.body is None else read_body(one.body, await request.read())
        query = None if one.query is None else _checked(one.query, dict(request.query), "the query")
        done = await one.act(rehearsal, Asked(request.match_info, body, query))
        return web.Response(status=one.status, text=done.model_dump_json(), content_type="application/json")

    return handle


def read_body(models: type[BaseModel] | Mapping[str, type[BaseModel]], text: str | bytes) -> BaseModel:
    """Return a body as a model: the only one, or the one that its field `kind` names. Raises WrongFile."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise WrongFile("the body", "", f"the body is not JSON: {error}") from None
    if isinstance(models, Mapping):
        kind = str(data.get("kind")) if isinstance(data, dict) else ""
        if kind not in models:
            raise WrongFile("the body", "kind", f"must be one of {', '.join(models)}")
        return _checked(models[kind], data, "the body")
    return _checked(models, data, "the body")


def _checked(model: type[BaseModel], data: Any, source: str) -> BaseModel:
    # JSON is YAML, so the place of a mistake is found in the same way.
    return checked(model, data, Places(json.dumps(data), source), needs=", ".join(model.model_fields))
