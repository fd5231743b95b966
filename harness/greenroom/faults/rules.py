"""Which requests a fault hits: by method, path, user, count and probability."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import unquote

from greenroom.errors import Misuse
from greenroom.faults.exchange import Action, Call
from greenroom.waiting import NotYet, until


class HasUserId(Protocol):
    """A person or a bot."""

    @property
    def user_id(self) -> str:
        """The Matrix id."""


@dataclass(frozen=True)
class Match:
    """The conditions of a rule. A field that is None is no condition."""

    method: str | None = None
    path: str | re.Pattern[str] | None = None  # a part of the decoded path, or a pattern to search for in it
    user: str | None = None
    where: Callable[[Call], bool] | None = None  # any other condition, on query or body

    def fits(self, call: Call) -> bool:
        """Return whether a request meets all conditions."""
        if self.method is not None and call.method != self.method.upper():
            return False
        if isinstance(self.path, str) and self.path not in call.path:
            return False
        if isinstance(self.path, re.Pattern) and not self.path.search(call.path):
            return False
        if self.user is not None and call.user != self.user:
            return False
        return self.where is None or self.where(call)

    def __str__(self) -> str:
        path = self.path.pattern if isinstance(self.path, re.Pattern) else self.path
        parts = [self.method, path, f"by {self.user}" if self.user else None, "where …" if self.where else None]
        return " ".join(part for part in parts if part) or "everything"


@dataclass
class Rule:
    """A fault in force. It ends with its `with` block, after `times` hits, or with the proxy, whichever is first."""

    name: str
    match: Match
    action: Action
    times: int | None = None
    skip: int = 0  # the fault lets this many matching requests pass first
    containing: bytes | None = None  # if set: the fault hits only an answer that contains this
    chance: random.Random = field(default_factory=random.Random, repr=False)
    probability: float = 1.0
    hits: int = 0
    seen: int = 0  # matching requests, hit or not
    ended: bool = False
    _release: Callable[[Callable[[], Any]], None] | None = field(default=None, repr=False)
    _note: Callable[[str], None] | None = field(default=None, repr=False)
    lifted: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # set on the proxy's loop

    def hits_now(self, call: Call, answer: bytes | None = None) -> bool:
        """Return whether the fault hits this request, or with `containing` its answer. Count it."""
        if self.ended or not self.match.fits(call) or (self.times is not None and self.hits >= self.times):
            return False
        if answer is None if self.containing is None else answer is not None and self.containing in answer:
            return self._counted()
        return False

    def _counted(self) -> bool:
        self.seen += 1
        if self.seen <= self.skip or self.chance.random() >= self.probability:
            return False
        self.hits += 1
        return True

    def end(self) -> None:
        """Lift the fault. The proxy then forwards the requests that the fault holds."""
        if not self.ended and self._note is not None:
            self._note(f"fault lifted after {self.hits} hit(s): {self}")
        self.ended = True
        if self._release is not None:
            self._release(self.lifted.set)

    async def until_hit(self, times: int = 1, *, timeout_s: float = 15.0, watch: Iterable[Any] = ()) -> None:
        """Wait until the fault has hit so many requests. Raises NotMet."""

        def check() -> bool | NotYet:
            matching = "request(s)" if self.containing is None else "answer(s)"
            return self.hits >= times or NotYet(f"{self.hits} hit(s), {self.seen} matching {matching}")

        await until(check, f"the fault “{self}” to hit {times} request(s)", timeout_s=timeout_s, watch=watch)

    def __enter__(self) -> Rule:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __str__(self) -> str:
        return f"{self.name} on {self.match}"


class Rules:
    """The rules in force, oldest first. The first rule that matches a request hits it."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> Rule:
        """Put a rule in force. Safe to call from any thread."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def take(self, call: Call, answer: bytes | None = None) -> Rule | None:
        """Return the rule that hits this request, or its answer, and count the hit there."""
        with self._lock:
            self._rules = [rule for rule in self._rules if not rule.ended]
            return next((rule for rule in self._rules if rule.hits_now(call, answer)), None)

    def end_all(self) -> None:
        """Lift every fault."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.end()


def checked_match(
    method: str | None,
    path: str | re.Pattern[str] | None,
    user: str | HasUserId | None,
    where: Callable[[Call], bool] | None,
) -> Match:
    """Return the Match for a caller's choice. Raises Misuse for conditions that no request can meet."""
    user_id = user if isinstance(user, str) or user is None else user.user_id
    if user_id is not None and not user_id.startswith("@"):
        raise Misuse(f"a fault's user must be a Matrix id like @alice:greenroom.test, not {user_id!r}")
    if isinstance(path, str) and "?" in path:
        raise Misuse(f"a fault's path has no query: {path!r}; match the query with where=lambda call: call.query…")
    return Match(method, unquote(path) if isinstance(path, str) else path, user_id, where)
