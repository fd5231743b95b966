"""Manners of single requests."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from greenroom.faults.exchange import Answer, Ask, Call, Outcome, Sent
from greenroom.faults.manners.manner import Manner, answer, decoded, refusal, with_query

MOST_MESSAGES = 100
ALIKE_S = 0.005
"""Conduit's clock counts milliseconds. A proxy sees two requests a little further apart than they were sent."""
LEFT_OR_FORGOTTEN = re.compile(r"/rooms/[^/]+/(leave|forget)$")
MESSAGES = re.compile(r"/rooms/[^/]+/messages$")
JOIN = re.compile(r"/join/[^/]+$")


class NoAdminApi(Manner):
    name = "no-admin-api"
    does = "has no `/_synapse/admin`: 404 `M_UNRECOGNIZED`"
    section = "#api-standards"
    helps = "work with the client-server API only"

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        if call.path.startswith("/_synapse/"):
            return refusal(404, "M_UNRECOGNIZED", "Unrecognized request")
        return await ask(sent)


class NoRateLimits(Manner):
    name = "no-rate-limits"
    does = "never answers 429"
    section = "#rate-limiting"
    helps = "nothing to do; test the bot against 429 on another homeserver"

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        while True:
            outcome = await ask(sent)
            if not isinstance(outcome, Answer) or outcome.status != 429:
                return outcome
            await asyncio.sleep(_retry_after_s(outcome))


class JoinNeedsABody(Manner):
    name = "join-needs-a-body"
    does = "refuses `POST /join/{roomIdOrAlias}` with an empty body: 400 `M_BAD_JSON`"
    section = "#post_matrixclientv3joinroomidoralias"
    helps = "send `{}`; matrix-nio's `client.join()` sends nothing"

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        if call.method == "POST" and JOIN.search(call.path) and not call.body:
            return refusal(400, "M_BAD_JSON", "Failed to deserialize request.")
        return await ask(sent)


class NoLogoutEverywhere(Manner):
    name = "no-logout-everywhere"
    does = "refuses `/logout/all` to people: 401 `M_MISSING_TOKEN`"
    section = "#post_matrixclientv3logoutall"
    helps = "log out of each device by `/logout`, or delete devices"

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        if call.method == "POST" and call.path.endswith("/logout/all"):
            return refusal(401, "M_MISSING_TOKEN", "Missing appservice token.")
        return await ask(sent)


class LoginWithoutAToken(Manner):
    name = "login-without-a-token"
    does = "refuses `/login` with an access token: 401 `M_MISSING_TOKEN`"
    section = "#post_matrixclientv3login"
    helps = "log in without an `Authorization` header"

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        if call.method == "POST" and call.path.endswith("/login") and call.token:
            return refusal(401, "M_MISSING_TOKEN", "Missing appservice token.")
        return await ask(sent)


class LeavingSaysYes(Manner):
    name = "leaving-says-yes"
    does = "answers 200 to `leave` and `forget` for every room, also for one that was never joined"
    section = "#post_matrixclientv3roomsroomidleave"
    helps = "read `/joined_rooms` to know what has been left"

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        outcome = await ask(sent)
        refused = isinstance(outcome, Answer) and outcome.status in (400, 403, 404)
        if refused and call.method == "POST" and LEFT_OR_FORGOTTEN.search(call.path):
            return answer(200, {})
        return outcome


class MessagesHeedNothing(Manner):
    name = "messages-heed-nothing"
    does = f"`/messages` heeds neither `to` nor `filter`, and gives at most {MOST_MESSAGES} events"
    section = "#get_matrixclientv3roomsroomidmessages"
    helps = "read back to an event that is known, not to a token"

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        if call.method == "GET" and MESSAGES.search(call.path):
            asked = call.query.get("limit", "")
            limit = str(MOST_MESSAGES) if asked.isdigit() and int(asked) > MOST_MESSAGES else asked or None
            sent = with_query(sent, to=None, filter=None, limit=limit)
        return await ask(sent)


class AlikeRoomsAreOne(Manner):
    name = "alike-rooms-are-one"
    does = "makes one room of two that an account asks for in one millisecond with equal `creation_content`"
    section = "#post_matrixclientv3createroom"
    helps = "make rooms one after the other, or put something unique into `creation_content`"

    def __init__(self) -> None:
        self._asked: dict[tuple[str | None, str], tuple[float, asyncio.Future[Outcome]]] = {}

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        if call.method != "POST" or not call.path.endswith("/createRoom"):
            return await ask(sent)
        body = call.json()
        content: Any = body.get("creation_content") if isinstance(body, dict) else None
        alike = (call.user, json.dumps(content or {}, sort_keys=True))
        now = asyncio.get_running_loop().time()
        before = self._asked.get(alike)
        if before is not None and now - before[0] < ALIKE_S:
            return await asyncio.shield(before[1])
        made = asyncio.ensure_future(ask(sent))
        self._asked[alike] = (now, made)
        return await asyncio.shield(made)


def _retry_after_s(refused: Answer) -> float:
    body = decoded(Answer(200, {}, refused.body)) or {}
    wait_ms = body.get("retry_after_ms")
    return wait_ms / 1000 if isinstance(wait_ms, int) else 1.0
