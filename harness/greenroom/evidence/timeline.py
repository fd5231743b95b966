"""Several logs and transcripts merged into one, in order of time.

A line's own time is an ISO date and time near its start, or the key `timestamp` of a JSON line. A line without a time
of its own is marked with `~`. It gets the time at which it appeared in its file, or else the time of the line before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

from greenroom.evidence.log_clock import Growth
from greenroom.faults.transcript import Entry, Transcript, cut

WHEN = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
SEARCHED = 60  # a later date in the line is not the time of the line
JSON_KEYS = ("timestamp", "time", "ts", "@timestamp")
# https://element-hq.github.io/synapse/latest/usage/administration/request_log.html
ACCESS = re.compile(
    r"synapse\.access\S* \S+ \S+ - \S+ - \{(?P<user>[^}]*)\} Processed request: (?P<took>[\d.]+)sec.* "
    r"(?P<status>\d{3})!? \"(?P<request>\S+ \S+) HTTP"
)
LEVEL = re.compile(r" (WARNING|ERROR|CRITICAL) ")


@dataclass(frozen=True)
class Request:
    """What the timeline knows of a request. `path` is decoded and has no query; `took_s` is None while it is open."""

    user: str
    method: str
    path: str
    status: int | None
    took_s: float | None
    proxied: bool
    empty: bool = True  # a sync that brought no event, as far as is known
    rule: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended without an answer, or with an error."""
        return self.took_s is not None and (self.status is None or self.status >= 400)


@dataclass(frozen=True)
class Moment:
    """One line of the timeline, and `more` below it. `guessed`: the line has no time of its own."""

    at: float
    source: str
    text: str
    guessed: bool = False
    more: tuple[str, ...] = ()
    request: Request | None = None
    entry: Entry | None = None  # the same request as the proxy kept it
    done: bool = False  # it was done to a process or to the proxy: a start, a kill, a fault

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at, UTC).strftime("%H:%M:%S.%f")[:-3]
        return f"{when}{'~' if self.guessed else ' '} {self.source:<12} {self.text}"


def moments_of_log(
    source: str, text: str, *, began: float, utc: bool = False, growth: Growth | None = None
) -> Iterator[Moment]:
    """Yield a log line by line. Lines before the first time get the time `began`."""
    latest, position = began, 0
    for line in text.splitlines(keepends=True):
        own = time_of(line, utc=utc)
        appeared = growth.written_at(position) if growth and own is None else None
        latest = own or appeared or latest
        yield Moment(latest, source, line.rstrip("\r\n"), guessed=own is None)
        position += len(line.encode())


def moments_of_server_log(source: str, text: str, *, began: float, utc: bool = False) -> Iterator[Moment]:
    """Yield Synapse's requests in short form, at the time of their arrival, and all warnings and errors."""
    in_trouble = False
    for moment in moments_of_log(source, text, began=began, utc=utc):
        access = ACCESS.search(moment.text)
        starts = WHEN.match(moment.text) is not None
        if access:
            user = "" if access["user"] in ("None", "") else f" by {access['user']}"
            took_s = float(access["took"])
            method, _, target = access["request"].partition(" ")
            path = unquote(target.partition("?")[0])
            request = Request(user.removeprefix(" by "), method, path, int(access["status"]), took_s, proxied=False)
            text = f"{access['request']} -> {access['status']}{user}, {access['took']} s"
            yield Moment(moment.at - took_s, source, text, request=request)
        elif LEVEL.search(moment.text) if starts else in_trouble:
            yield moment
        in_trouble = bool(LEVEL.search(moment.text)) if starts else in_trouble


def moment_of_entry(entry: Entry) -> Moment:
    """Return a request that passed the proxy as a moment, at the time of its arrival."""
    user, path = entry.user or "", unquote(entry.path)
    empty = not entry.brought
    took_s, rule = entry.duration_s, entry.rule or ""
    request = Request(user, entry.method, path, entry.status, took_s, proxied=True, empty=empty, rule=rule)
    more = [f"  sent {cut(entry.sent)}"] if entry.sent else []
    more += [f"  got {cut(entry.refusal)}"] if entry.refusal else []
    more += [f"  brought {len(entry.brought)} event(s)"] if entry.brought else []
    return Moment(entry.at, "proxy", entry.line().partition(" ")[2], more=tuple(more), request=request, entry=entry)


def moments_of_transcript(transcript: Transcript) -> Iterator[Moment]:
    """Yield the requests that passed a proxy, and its faults."""
    yield from map(moment_of_entry, transcript)
    for at, what in list(transcript.faults):
        yield Moment(at, "proxy", what, done=True)


def time_of(line: str, *, utc: bool = False) -> float | None:
    """Return a log line's own time in seconds since the epoch; None if it has none."""
    stamp: str | None = None
    if line.startswith("{"):
        stamp = _json_stamp(line)
    if stamp is None:
        found = WHEN.search(line[:SEARCHED])
        stamp = found[0] if found else None
    if stamp is None:
        return None
    try:
        when = datetime.fromisoformat(stamp.replace(",", "."))
    except ValueError:
        return None
    return (when.replace(tzinfo=UTC) if utc and when.tzinfo is None else when).timestamp()


def _json_stamp(line: str) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    stamp = next((entry[key] for key in JSON_KEYS if key in entry), None) if isinstance(entry, dict) else None
    return datetime.fromtimestamp(stamp, UTC).isoformat() if isinstance(stamp, int | float) else stamp


def merged(moments: Iterable[Moment]) -> list[Moment]:
    """Sort moments by time. Moments of the same time keep their order."""
    return sorted(moments, key=lambda moment: moment.at)
