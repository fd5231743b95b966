"""A responder that answers late in the chat that SLOW_CHAT names (default: in all chats).

It waits for SLOW_S seconds, and then until the file SLOW_UNTIL exists.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog

from greenroom_bot.responder import Question, Responder


def make() -> Responder:
    """Return a responder that waits, and then answers with the text of the question."""

    async def respond(question: Question) -> str:
        structlog.get_logger().info("responder_asked", chat_id=question.chat_id)
        if os.environ.get("SLOW_CHAT", question.chat_id) == question.chat_id:
            await asyncio.sleep(float(os.environ.get("SLOW_S", "0")))
            while "SLOW_UNTIL" in os.environ and not Path(os.environ["SLOW_UNTIL"]).exists():  # noqa: ASYNC110 - a test makes it
                await asyncio.sleep(0.02)
        return question.body

    return respond
