"""The plug-in point: the service that answers. The bot is only its Matrix surface."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from greenroom_bot.matrix.errors import ConfigError
from greenroom_bot.matrix.ids import ChatId, EventId, UserId


@dataclass(frozen=True)
class Question:
    """One message for the answering service. After a crash the bot may ask again with the same `event_id`."""

    chat_id: ChatId
    owner: UserId
    sender: UserId
    event_id: EventId
    body: str


class Responder(Protocol):
    """Answers a question with text, or with None to say nothing.

    A slow answer delays only the next message of the same room. The responder must not block the event loop. If it
    raises an exception, the bot logs the exception and tells the person that the answer failed.
    """

    async def __call__(self, question: Question) -> str | None: ...


def echo() -> Responder:
    """Return the default responder, which repeats each message."""

    async def respond(question: Question) -> str | None:
        return question.body

    return respond


def load_responder(spec: str) -> Responder:
    """Import `package.module:factory` and call the factory. Raises ConfigError with the reason in one line."""
    module_name, _, factory_name = spec.partition(":")
    try:
        factory: Callable[[], Responder] = getattr(importlib.import_module(module_name), factory_name)
        return factory()
    except Exception as error:
        raise ConfigError(f"MATRIX_RESPONDER {spec!r} cannot be loaded: {type(error).__name__}: {error}") from error
