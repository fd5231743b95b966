"""The plug-in point: what answers. The bot is only a Matrix surface for it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
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

    It may take its time: other rooms go on meanwhile, the next message of the same room waits. It must not block the
    event loop. An exception is logged and the person is told that the answer failed.
    """

    async def __call__(self, question: Question) -> str | None: ...


def echo() -> Responder:
    """Return the default responder: it says what it was told."""

    async def respond(question: Question) -> str | None:
        return question.body

    return respond


def load_responder(spec: str) -> Responder:
    """Import `package.module:factory` and call the factory. Raises ConfigError with the reason in one line."""
    module_name, _, factory_name = spec.partition(":")
    if (here := os.getcwd()) not in sys.path:  # `python -P` leaves it out; last, so that no file there hides a module
        sys.path.append(here)
    try:
        factory: Callable[[], Responder] = getattr(importlib.import_module(module_name), factory_name)
        return factory()
    except Exception as error:
        raise ConfigError(f"MATRIX_RESPONDER {spec!r} cannot be loaded: {type(error).__name__}: {error}") from error
