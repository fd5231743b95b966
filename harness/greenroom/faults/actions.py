"""What a fault does to a request that it hits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from greenroom.errors import Misuse
from greenroom.faults.exchange import Action, Answer, Cut, Exchange, Outcome

HTML_502 = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def answer_json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Action:
    """Answer with JSON. The homeserver never receives the request."""
    return _instead(Answer(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(body).encode()))


def answer_html(status: int, body: str) -> Action:
    """Answer with HTML, as a failing reverse proxy does. The homeserver never receives the request."""
    return _instead(Answer(status, {"Content-Type": "text/html"}, body.encode()))


def rate_limited(retry_after_ms: int | None) -> Action:
    """Answer 429 as the specification describes it: errcode, `retry_after_ms`, and the newer header Retry-After."""
    # https://spec.matrix.org/latest/client-server-api/#rate-limiting
    body: dict[str, Any] = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests"}
    if retry_after_ms is None:
        return answer_json(429, body)
    seconds = str(max(1, -(-retry_after_ms // 1000)))
    return answer_json(429, {**body, "retry_after_ms": retry_after_ms}, {"Retry-After": seconds})


def _instead(answer: Answer) -> Action:
    if not 200 <= answer.status <= 599:
        raise Misuse(f"a fault's status must be from 200 to 599, not {answer.status}")

    async def act(exchange: Exchange) -> Outcome:
        return answer

    return act


async def cut(exchange: Exchange) -> Outcome:
    """End the connection. The homeserver never receives the request."""
    return Cut("cut before the homeserver received the request")


async def drop_response(exchange: Exchange) -> Outcome:
    """Forward the request, then end the connection without the answer."""
    answer = await exchange.forward()
    return answer if isinstance(answer, Cut) else Cut("answer dropped after the request had been handled")


async def repeat(exchange: Exchange) -> Outcome:
    """Forward the request twice, one after the other. The client receives the second answer."""
    answer = await exchange.forward()
    return answer if isinstance(answer, Cut) else await exchange.forward_again()


async def stall(exchange: Exchange) -> Outcome:
    """Hold the request until the fault is lifted, then forward it."""
    await exchange.until_lifted()
    return await exchange.forward()


async def hold_response(exchange: Exchange) -> Outcome:
    """Forward the request at once, and hold the answer until the fault is lifted."""
    answer = await exchange.forward()
    await exchange.until_lifted()
    return answer


def delay(seconds: float) -> Action:
    """Forward the request after so many seconds, or as soon as the fault is lifted."""
    if seconds < 0:
        raise Misuse(f"a delay cannot be negative: {seconds}")

    async def act(exchange: Exchange) -> Outcome:
        await exchange.sleep(seconds)
        return await exchange.forward()

    return act


def truncate(keep: float, *, well_framed: bool) -> Action:
    """Send only the first part of the body, then end the connection, or (`well_framed`) claim that this is all."""
    if not 0 <= keep < 1:
        raise Misuse(f"keep must be a fraction from 0 to below 1, not {keep}")

    async def act(exchange: Exchange) -> Outcome:
        answer = await exchange.forward()
        if isinstance(answer, Cut):
            return answer
        kept = int(len(answer.body) * keep)
        if well_framed:
            return replace(answer, body=answer.body[:kept])
        return replace(answer, cut_after=kept)

    return act
