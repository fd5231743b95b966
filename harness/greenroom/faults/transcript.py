"""Every request that passed the proxy, with its outcome. Secrets are removed before an entry is kept."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

REDACTED = "[redacted]"
CLIENT_LEFT = "the client closed the connection, or the proxy closed"  # the note of an entry without an answer
SECRET_KEYS = frozenset(
    {
        "password",
        "new_password",
        "access_token",
        "refresh_token",
        "token",
        "login_token",
        "session_key",
        "as_token",
        "hs_token",
        "mac",
        "secret",
    }
)
SECRET_TEXT = re.compile(r"\b(syt_[A-Za-z0-9_]+|mat_[A-Za-z0-9_]+)|(?<=Bearer )\S+")
KEPT_BODY = 4000  # characters kept of a body
SHOWN_BODY = 600  # of those in a text for people
WHOLE_BYTES = 65536  # a larger answer that is no error is not kept

# Requests that nobody else can see: sessions, the device's own keys, filters and look-ups.
NOT_WRITES = re.compile(r"/(login|logout|logout/all|refresh|search|publicRooms|keys/[a-z_]+|user/[^/]+/filter)$")


def is_write(method: str, path: str) -> bool:
    """Return whether a request changes what others can see. Logins and a device's own keys do not."""
    return method in ("PUT", "POST", "DELETE") and not NOT_WRITES.search(path)


def redacted(data: Any) -> Any:
    """Return a copy of decoded JSON without its secrets."""
    if isinstance(data, Mapping):
        return {k: REDACTED if k in SECRET_KEYS and isinstance(v, str) else redacted(v) for k, v in data.items()}
    if isinstance(data, list):
        return [redacted(item) for item in data]
    return redacted_text(data) if isinstance(data, str) else data


def redacted_text(text: str) -> str:
    """Return a text without whatever looks like an access token."""
    return SECRET_TEXT.sub(REDACTED, text)


def shown_body(body: bytes) -> str:
    """Return a body for people to read: redacted, and cut if it is long."""
    if not body:
        return ""
    try:
        text = json.dumps(redacted(json.loads(body)), ensure_ascii=False)
    except ValueError:
        text = redacted_text(body[: 4 * KEPT_BODY].decode(errors="replace"))
    return text if len(text) <= KEPT_BODY else f"{text[:KEPT_BODY]}… ({len(body)} bytes)"


def kept_answer(status: int, body: bytes) -> str:
    """Return what an entry keeps of an answer: the body as shown, or its size if a success is large."""
    return shown_body(body) if status >= 400 or len(body) <= WHOLE_BYTES else f"({len(body)} bytes, not kept)"


def cut(text: str) -> str:
    """Return the beginning of a kept body, for a text in which it is one line of many."""
    return text if len(text) <= SHOWN_BODY else f"{text[:SHOWN_BODY]}…"


@dataclass
class Entry:
    """One request. `status` is what the client received (None: no answer), `server_status` what the homeserver sent."""

    at: float  # seconds since the epoch, by the clock that all logs of a bundle share
    method: str
    path: str
    query: str
    user: str | None
    sent: str = ""  # the request's body, redacted
    status: int | None = None
    forwarded: bool = False  # the proxy has passed it on
    server_status: int | None = None
    duration_s: float | None = None  # None: the request is still open
    rule: str | None = None
    note: str = ""
    answered: str = ""  # the answer's body, redacted; of a large success only its size
    brought: tuple[str, ...] = ()  # ids of the events that a sync brought to the client
    made: str = ""  # id of the event that a send made, as the client was told
    to: str = ""  # the user id of the application service that the homeserver sent this to; "" for a client's request

    @property
    def refusal(self) -> str:
        """The body of an answer that is an error; "" for any other."""
        return self.answered if self.status is not None and self.status >= 400 else ""

    @property
    def ended(self) -> float:
        """When it ended, in seconds since the epoch; when it began, if it is still open."""
        return self.at + (self.duration_s or 0.0)

    @property
    def is_write(self) -> bool:
        """Whether the request changes what others can see."""
        return not self.to and is_write(self.method, self.path)

    @property
    def reached_server(self) -> bool:
        """Whether the homeserver has answered, or is about to: others may see a write before its own answer arrives.

        The client may have received something else.
        """
        return self.server_status is not None or (self.forwarded and self.duration_s is None)

    def line(self) -> str:
        """Return the entry as one line for people to read."""
        when = datetime.fromtimestamp(self.at, UTC).strftime("%H:%M:%S.%f")[:-3]
        took = "open" if self.duration_s is None else f"{self.duration_s * 1000:.0f} ms"
        unanswered = "open" if self.duration_s is None else "no answer"
        got = unanswered if self.status is None else str(self.status)  # known before the client has the answer
        other = self.to or "homeserver"
        said = f" ({other} answered {self.server_status})" if self.server_status not in (None, self.status) else ""
        who = f"homeserver to {self.to}" if self.to else self.user or "-"
        parts = [f"{when} {who} {self.method} {self.path}{'?' + self.query if self.query else ''}"]
        parts.append(f"-> {got}{said}, {took}")
        parts += [f"[{self.rule}]"] if self.rule else []
        parts += [self.note] if self.note else []
        return " ".join(parts)


@dataclass
class Transcript:
    """All requests, in order of arrival. The proxy's thread writes it; any thread may read it.

    `faults` has each fault that was put in force or lifted, as (seconds since the epoch, in words).

    With `kept`, it keeps at least so many of the latest requests, and at most twice as many; it forgets older ones. A
    position (`len`, `since`) counts those that were forgotten too.
    """

    kept: int | None = None
    faults: list[tuple[float, str]] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)
    _forgotten: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, entry: Entry) -> Entry:
        """Add a request that has just arrived. The proxy fills in the outcome later."""
        with self._lock:
            self._entries.append(entry)
            if self.kept is not None and len(self._entries) >= 2 * self.kept:
                self._forgotten += len(self._entries) - self.kept
                del self._entries[: -self.kept]
        return entry

    def note_fault(self, what: str) -> None:
        """Add that a fault was put in force or lifted just now."""
        with self._lock:
            self.faults.append((time.time(), what))

    def entries(
        self, *, user: str | None = None, method: str | None = None, path: str | None = None, since: int = 0
    ) -> list[Entry]:
        """Return the requests of a user, of a method, with `path` in their path, after the first `since` requests."""
        with self._lock:
            kept = self._entries[max(0, since - self._forgotten) :]
        return [
            e
            for e in kept
            if user in (None, e.user) and method in (None, e.method) and (path is None or path in e.path)
        ]

    def since(self, position: int) -> tuple[list[Entry], int]:
        """Return the kept requests after a position, and the position behind them."""
        with self._lock:
            return self._entries[max(0, position - self._forgotten) :], self._forgotten + len(self._entries)

    def around(self, user_id: str, *, since: int = 0) -> list[Entry]:
        """Return the requests of a bot, and what the homeserver sent it, if it is an application service."""
        return [e for e in self.entries(since=since) if user_id in (e.user, e.to)]

    def writes(self, user: str | None = None, *, since: int = 0) -> list[Entry]:
        """Return the requests that reached the homeserver and change what others can see."""
        return [e for e in self.entries(user=user, since=since) if e.is_write and e.reached_server]

    def requests_by_user(self) -> Counter[str]:
        """Count requests per user id; "" stands for an unknown user."""
        return Counter(e.user or "" for e in self.entries())

    def writes_by_user(self) -> Counter[str]:
        """Count writes that reached the homeserver, per user id."""
        return Counter(e.user or "" for e in self.writes())

    def __len__(self) -> int:
        with self._lock:
            return self._forgotten + len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries())

    def text(self) -> str:
        """Return all entries for people to read: one line per request, bodies indented below."""
        lines = []
        for entry in self:
            lines.append(entry.line())
            lines += [f"    > {cut(entry.sent)}"] if entry.sent else []
            lines += [f"    < {cut(entry.refusal)}"] if entry.refusal else []
        return "\n".join(lines) + ("\n" if lines else "")
