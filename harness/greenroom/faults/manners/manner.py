"""What every manner is made of: it stands between a client and the homeserver, and changes questions or answers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from multidict import CIMultiDict

from greenroom.faults.brought import is_sync
from greenroom.faults.exchange import Answer, Ask, Call, Outcome, Sent

SPEC = "https://spec.matrix.org/latest/client-server-api/"
NEWS = ("rooms", "to_device", "device_lists", "account_data", "presence")
"""The parts of a sync's answer that a client waits for."""


class Manner(ABC):
    """One way in which a homeserver differs from Synapse. Each proxy has instances of its own."""

    name: ClassVar[str]
    does: ClassVar[str]  # what the homeserver does, for the table in docs/manners.md
    section: ClassVar[str]  # where the specification speaks of it, after SPEC
    helps: ClassVar[str]  # what a bot does so that it does not matter

    @abstractmethod
    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        """Answer a request. `ask` asks the homeserver, which may have other manners."""


class SyncManner(Manner):
    """A manner of `/sync`. A sync that fails passes as it is."""

    async def around(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        """Answer a sync; let every other request pass."""
        is_one = is_sync(sent.url.path)  # the `call` may be one although this is what another manner looks up for it
        return await (self.sync(call, sent, ask) if is_one else ask(sent))

    async def sync(self, call: Call, sent: Sent, ask: Ask) -> Outcome:
        """Answer a sync: change the question, then the answer to it."""
        outcome = await ask(await self.question(call, sent, ask))
        body = decoded(outcome)
        if body is None:
            return outcome
        return with_body(outcome, await self.answer(call, body, sent, ask))

    async def question(self, call: Call, sent: Sent, ask: Ask) -> Sent:
        """Return the sync that the homeserver is asked for."""
        return sent

    async def answer(self, call: Call, body: dict[str, Any], sent: Sent, ask: Ask) -> dict[str, Any]:
        """Return the answer's body as the client receives it. `body` may be changed."""
        return body


def decoded(outcome: Outcome) -> dict[str, Any] | None:
    """Return the JSON object in an answer with status 200, otherwise None."""
    if not isinstance(outcome, Answer) or outcome.status != 200:
        return None
    try:
        body = json.loads(outcome.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def with_body(outcome: Outcome, body: object) -> Answer:
    """Return an answer with another body."""
    assert isinstance(outcome, Answer), "it has been decoded"
    return replace(outcome, body=json.dumps(body).encode())


def answer(status: int, body: Mapping[str, Any]) -> Answer:
    """Return an answer that the homeserver was not asked for."""
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def refusal(status: int, errcode: str, error: str) -> Answer:
    """Return a Matrix error."""
    return answer(status, {"errcode": errcode, "error": error})


def with_query(sent: Sent, **changes: str | None) -> Sent:
    """Return a request with other values in its query. None removes one."""
    query = [(key, value) for key, value in sent.url.query.items() if key not in changes]
    query += [(key, value) for key, value in changes.items() if value is not None]
    return replace(sent, url=sent.url.with_query(query))


def follow_up(call: Call, sent: Sent, path: str) -> Sent:
    """Return a GET request of the same user. `path` is encoded, and may have a query."""
    where, _, query = path.partition("?")
    url = sent.url.with_path(where, encoded=True).with_query(query or None)
    return Sent("GET", url, CIMultiDict({"Authorization": f"Bearer {call.token}", "Accept-Encoding": "identity"}))


def has_news(body: Mapping[str, Any]) -> bool:
    """Return whether the answer to a sync says anything."""
    return any(_says(body.get(part)) for part in NEWS)


def _says(part: object) -> bool:
    return any(map(_says, part.values())) if isinstance(part, dict) else bool(part)
