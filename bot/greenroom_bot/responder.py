"""The plug-in point: what answers. The bot is only a Matrix surface for it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from dataclasses import dataclass
from typing import Protocol

from greenroom_bot.matrix.errors import ConfigError
from greenroom_bot.matrix.ids import ChatId, EventId, UserId


@dataclass(frozen=True)
class Question:
    """One message for the answering service. `event_id` is stable: after a crash the same one may be asked again."""

    chat_id: ChatId
    owner: UserId
    sender: UserId
    event_id: EventId
    body: str


class Responder(Protocol):
    """Answers a question with text, or None for silence.

    An empty text is silence too. It may take its time: other rooms go on meanwhile, the next message of the same room
    waits. It must not block the event loop. Every exception, `SystemExit` included, and every answer that is no text is
    logged, and the person is told that the answer failed. When the bot stops, its task is cancelled after some seconds,
    and the same question is asked after the next start.
    """

    async def __call__(self, question: Question) -> str | None: ...


def echo() -> Responder:
    """Return the default responder: it says what it was told."""

    async def respond(question: Question) -> str | None:
        return question.body

    return respond


class ResponderFailed(Exception):
    """A responder raised something, or returned what is no text. `str()` says which; `__cause__` is what it raised."""


async def ask(responder: Responder, question: Question) -> str | None:
    """Return the responder's answer, None for silence. Raises ResponderFailed.

    The responder runs in a task of its own. So a cancellation that it raises, swallows or asks for concerns that task
    only, and a CancelledError out of this function always means that the caller is being cancelled.
    """
    asking = asyncio.create_task(_outcome(responder, question))
    try:
        await asyncio.wait([asking])
    finally:
        asking.cancel()
    answer = asking.result()
    if isinstance(answer, BaseException):
        raise ResponderFailed(_named(answer)) from answer
    if answer is not None and not isinstance(answer, str):
        raise ResponderFailed(f"the answer is no text but of the type {type(answer).__name__}")
    return answer or None


async def _outcome(responder: Responder, question: Question) -> object:
    """Return the answer or what was raised instead: asyncio lets a task's SystemExit out of the event loop."""
    try:
        return await responder(question)
    except GeneratorExit:
        raise
    except BaseException as error:
        return error


def load_responder(spec: str) -> Responder:
    """Import `package.module:factory` and call the factory. Raises ConfigError with the reason in one line."""
    module_name, _, factory_name = spec.partition(":")
    if (here := os.getcwd()) not in sys.path:  # `python -P` leaves it out; last, so that no file there hides a module
        sys.path.append(here)
    try:
        made: Responder = getattr(importlib.import_module(module_name), factory_name)()
    except BaseException as error:  # SystemExit included: a service may check its own settings when it is imported
        raise ConfigError(f"MATRIX_RESPONDER {spec!r} cannot be loaded: {_named(error)}") from error
    if inspect.iscoroutine(made):
        made.close()  # else Python complains about it in a second line
    if not callable(made):
        kind = type(made).__name__
        raise ConfigError(f"MATRIX_RESPONDER {spec!r} cannot be used: the factory returned no function but a {kind}")
    return made


def _named(error: BaseException) -> str:
    """Return an error's type and text in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
