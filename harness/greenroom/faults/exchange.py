"""One request on its way through the proxy, and the two ways in which it can end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import yarl
from multidict import CIMultiDict

from greenroom.faults.rules import Call, Rule
from greenroom.faults.transcript import Entry

# They describe one connection (RFC 9110, section 7.6.1) or are made anew by the library.
PER_CONNECTION = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length", "host"}
)


@dataclass(frozen=True)
class Answer:
    """An answer for the client. With `cut_after`, only so many bytes of the body arrive before the connection ends."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut_after: int | None = None


@dataclass(frozen=True)
class Cut:
    """No answer: the connection ends."""

    why: str


Outcome = Answer | Cut


class Exchange:
    """What an action may do with a request: look at it, pass it on, wait."""

    def __init__(
        self,
        call: Call,
        target: str,
        headers: CIMultiDict[str],
        session: aiohttp.ClientSession,
        entry: Entry,
    ) -> None:
        self.call = call
        self.rule: Rule | None = None
        self.passed_on = False
        self._outcome: Outcome | None = None
        self._target = target  # whole URL, still encoded as the client sent it
        self._headers = headers
        self._session = session
        self._entry = entry

    def hit_by(self, rule: Rule) -> None:
        """Note the fault that is to act."""
        self.rule = rule
        self._entry.rule = str(rule)

    async def forward(self) -> Outcome:
        """Pass the request on and give the homeserver's answer; Cut if there is none. Asked again: the same answer."""
        if self._outcome is None:
            self._outcome = await self._forward()
        return self._outcome

    async def _forward(self) -> Outcome:
        headers = CIMultiDict((k, v) for k, v in self._headers.items() if k.lower() not in PER_CONNECTION)
        headers["Accept-Encoding"] = "identity"  # answers are looked into for tokens
        self.passed_on = True
        try:
            async with self._session.request(
                self.call.method,
                yarl.URL(self._target, encoded=True),
                headers=headers,
                data=self.call.body or None,
                allow_redirects=False,
                skip_auto_headers=("Content-Type", "User-Agent"),
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Cut(f"the homeserver gave no answer ({type(error).__name__})")
        self._entry.server_status = response.status
        kept = {k: v for k, v in response.headers.items() if k.lower() not in PER_CONNECTION}
        return Answer(response.status, kept, body)

    async def sleep(self, seconds: float) -> None:
        """Wait on the proxy's loop, or until the fault is lifted."""
        if self.rule is None:
            await asyncio.sleep(seconds)
            return
        try:
            await asyncio.wait_for(self.rule.until_ended(), seconds)
        except TimeoutError:
            return
