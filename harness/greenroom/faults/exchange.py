"""One request on its way through the proxy, and the two ways in which it can end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import yarl
from multidict import CIMultiDict

from greenroom.faults.transcript import Entry

# These headers describe one connection (RFC 9110, section 7.6.1), or the HTTP library writes its own.
PER_CONNECTION = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length", "host"}
)


@dataclass(frozen=True)
class Call:
    """A request as rules see it. `path` is percent-decoded and has no query."""

    method: str
    path: str
    query: Mapping[str, str]
    user: str | None
    body: bytes = b""
    token: str = field(default="", repr=False)
    device: str = ""

    def json(self) -> Any:
        """Decode the body. Return an empty object if the body is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


@dataclass(frozen=True)
class Answer:
    """An answer for the client. With `cut_after`, the connection ends after that many bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut_after: int | None = None


@dataclass(frozen=True)
class Cut:
    """No answer: the connection ends."""

    why: str


Outcome = Answer | Cut


@dataclass(frozen=True)
class Sent:
    """A request as it goes to the homeserver. `url` is whole, and encoded as the client sent it."""

    method: str
    url: yarl.URL
    headers: CIMultiDict[str]
    body: bytes = b""


Ask = Callable[[Sent], Awaitable[Outcome]]
Around = Callable[[Call, Sent, Ask], Awaitable[Outcome]]
"""What stands between a client and the homeserver: it may ask with another request, and change the answer."""


class Exchange:
    """What an action can do with a request: read it, forward it, wait."""

    def __init__(
        self,
        call: Call,
        target: str,
        headers: CIMultiDict[str],
        session: aiohttp.ClientSession,
        entry: Entry,
        around: Sequence[Around] = (),  # the nearest to the client first
    ) -> None:
        self.call = call
        self._lifted = asyncio.Event()  # without a fault, it is never set
        self._outcome: Outcome | None = None
        kept = CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in PER_CONNECTION)
        kept["Accept-Encoding"] = "identity"  # the proxy reads answers, for tokens and for `containing`
        self._sent = Sent(call.method, yarl.URL(target, encoded=True), kept, call.body)
        self._ask: Ask = self._carry
        for one in reversed(around):
            self._ask = partial(_asked_through, one, call, self._ask)
        self._session = session
        self._entry = entry

    @property
    def forwarded(self) -> bool:
        """Whether the request has been passed on to the homeserver."""
        return self._entry.forwarded

    def hit_by(self, fault: str, lifted: asyncio.Event) -> None:
        """Record which fault hits this request, and the event that is set when that fault is lifted."""
        self._entry.rule = fault
        self._lifted = lifted

    async def forward(self) -> Outcome:
        """Forward the request once. Return the homeserver's answer, the same for each call; Cut if there is none."""
        if self._outcome is None:
            self._outcome = await self._forward()
        return self._outcome

    async def forward_again(self) -> Outcome:
        """Forward the request once more. Return the answer to this time."""
        self._outcome = await self._forward()
        return self._outcome

    async def _forward(self) -> Outcome:
        self._entry.forwarded = True
        return await self._ask(self._sent)

    async def _carry(self, sent: Sent) -> Outcome:
        try:
            async with self._session.request(
                sent.method,
                sent.url,
                headers=sent.headers,
                data=sent.body or None,
                allow_redirects=False,
                skip_auto_headers=("Content-Type", "User-Agent"),
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            whose = "the service" if self._entry.to else "the homeserver"
            return Cut(f"{whose} gave no answer ({type(error).__name__})")
        self._entry.server_status = response.status
        kept = {k: v for k, v in response.headers.items() if k.lower() not in PER_CONNECTION}
        return Answer(response.status, kept, body)

    async def until_lifted(self) -> None:
        """Wait until the fault is lifted."""
        await self._lifted.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds, or until the fault is lifted."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.until_lifted(), seconds)


Action = Callable[[Exchange], Awaitable[Outcome]]


async def _asked_through(around: Around, call: Call, ask: Ask, sent: Sent) -> Outcome:
    return await around(call, sent, ask)
