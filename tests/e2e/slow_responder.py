"""A responder that takes SLOW_S seconds for messages in the chat that SLOW_CHAT names (default: all)."""

from __future__ import annotations

import asyncio
import os

import structlog

from bot.responder import Question, Responder


def make() -> Responder:
    async def respond(question: Question) -> str:
        structlog.get_logger().info("responder_asked", chat_id=question.chat_id)
        if os.environ.get("SLOW_CHAT", question.chat_id) == question.chat_id:
            await asyncio.sleep(float(os.environ.get("SLOW_S", "0")))
        return question.body

    return respond
