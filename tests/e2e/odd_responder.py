"""A responder that does what no service should do, for some questions. It repeats every other question."""

from __future__ import annotations

import sys

from greenroom_bot.responder import Question, Responder


def make() -> Responder:
    """Return a responder that fails for `exit` and answers `surrogate` with half a character."""

    async def respond(question: Question) -> str:
        if question.body == "exit":
            sys.exit("no licence")
        return "half \ud83d" if question.body == "surrogate" else question.body

    return respond
