"""A record as the rows of a sequence picture: each goes from one lane to another, or stands in one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from greenroom.evidence.folding import TRANSACTION, dullness, merge_requests
from greenroom.evidence.record import Record
from greenroom.evidence.timeline import WHEN, Moment
from greenroom.faults.transcript import CLIENT_LEFT, Entry, redacted
from greenroom.people.seen import SeenEvent

SLOW_S = 1.0  # a request that takes longer is marked; a sync may
LONGEST = 2000  # characters of a log line
NOBODY_WAITS = "Not sending response to request"  # as Synapse warns of the same; the proxy has a row for it
CLIENT_GONE = 499  # as Synapse logs a client that did not wait for its answer
MANY_PEOPLE = 3  # more of them share one lane
PEOPLE, HOMESERVER, PROXY = "people", "homeserver", "proxy"
SERIOUS = re.compile(r"\b(\w*error|critical|\w*exception|traceback|fatal|panic)\b", re.IGNORECASE)
WARNING = re.compile(r"\bwarn(ing)?\b", re.IGNORECASE)
LEVELS = {"warning": "warning", "warn": "warning", "error": "error", "critical": "error", "exception": "error"}
USER = re.compile(r"@[^/:@\s]+:[^/\s]+")
ID = re.compile(r"([!$][\w+-]{6})[\w+-]{8,}(?::[\w.:-]+)?")
UNIQUE = re.compile(r"-.*-[0-9a-f]{6}$")
API = re.compile(r"^/_matrix/client/(?:v\d+|r0|unstable(?:/[^/]*)?)/")


@dataclass(frozen=True)
class Lane:
    """A column of the picture. `kind` is person, homeserver, proxy or bot."""

    key: str
    kind: str
    title: str


@dataclass(frozen=True)
class Row:
    """One line of the picture. `start` and `end` are keys of lanes; an empty `end` is a point in a lane.

    `mark` is one word for what a reader should notice ("" for nothing), `dull` is what a reader rarely wants to see,
    and `detail` is shown after a click: names and values.
    """

    at: float
    kind: str  # message, event, request, log, process, fault or test
    start: str
    end: str
    text: str
    mark: str = ""
    dull: bool = False
    via: str = ""  # the lane that an arrow stops at or passes: the proxy
    guessed: bool = False  # the time is that of the line before, or of the file
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """The lanes from left to right, and the rows in order of time."""

    lanes: tuple[Lane, ...]
    rows: tuple[Row, ...]

    def in_short(self, text: str) -> str:
        """Return a text with the titles of lanes in place of user ids, and the beginnings of other ids."""
        for lane in self.lanes:
            if lane.kind in ("person", "bot"):
                text = re.sub(rf"@?\b{re.escape(lane.key)}\b(:[\w.:-]*\w)?", lane.title, text)
        return ID.sub(r"\1…", text)

    def as_data(self, began: float) -> dict[str, Any]:
        """Return the picture as JSON data. Times are seconds since `began`; what is empty is left out."""
        kept = []
        for row in self.rows:
            data = {name: value for name, value in asdict(row).items() if value}
            kept.append({**data, "at": round(row.at - began, 3)})
        return {"began": began, "lanes": [asdict(lane) for lane in self.lanes], "rows": kept}


def picture(record: Record, moments: Sequence[Moment], verdict: str = "", headline: str = "") -> Picture:
    """Return the picture of a record from its moments. Without a `verdict` all went well."""
    drawer = _Drawer(record)
    rows = [row for moment in _joined(merge_requests(moments)) for row in drawer.rows_of(moment, verdict, headline)]
    rows += [drawer.row_of_event(event, by) for event, by in _once(record)]
    rows.sort(key=lambda row: row.at)
    used = {key for row in rows for key in (row.start, row.end, row.via)}
    return Picture(tuple(lane for lane in drawer.lanes if lane.key in used), tuple(rows))


def _joined(moments: Iterable[Moment]) -> Iterator[Moment]:
    """Join lines of a log that have no time of their own, such as a traceback, to the line above."""
    waiting: Moment | None = None
    for moment in moments:
        goes_on = waiting and moment.guessed and moment.source == waiting.source and moment.text[:1] in (" ", "\t", "")
        if waiting is not None and goes_on:
            waiting = replace(waiting, more=(*waiting.more, moment.text))
            continue
        if waiting is not None:
            yield waiting
        waiting = moment
    if waiting is not None:
        yield waiting


def _once(record: Record) -> Iterable[tuple[SeenEvent, str]]:
    """Return each event that people have seen since the record began, once, with the id of one who has seen it.

    It is decrypted if one of them could.
    """
    best: dict[str, tuple[SeenEvent, str]] = {}
    for seen in record.seen:
        for event in list(seen.timeline):
            if event.at >= record.began and (event.event_id not in best or best[event.event_id][0].is_unreadable):
                best[event.event_id] = event, seen.user_id
    return best.values()


class _Drawer:
    """Knows the lanes of a record, and which of them a row belongs to."""

    def __init__(self, record: Record) -> None:
        servers = [log.name for log in record.logs if log.name.startswith(HOMESERVER)] or [HOMESERVER]
        bots = [log.name for log in record.logs if not log.name.startswith(HOMESERVER)]
        watching = [seen.user_id for seen in record.seen]
        people = list(dict.fromkeys(_local(user) for user in watching if _local(user) not in bots))
        self._shared = len(people) > MANY_PEOPLE or not people
        self._people, self._bots = people, bots
        self._server = servers[0]
        self._titles = _short_names([*people, *bots])
        one_each = [Lane(name, "person", self._titles[name]) for name in people]
        self.lanes = [
            *([Lane(PEOPLE, "person", PEOPLE)] if self._shared else one_each),
            *(Lane(name, "homeserver", name) for name in servers),
            Lane(PROXY, "proxy", "proxy, faults"),
            *(Lane(name, "bot", self._titles[name]) for name in bots),
        ]

    def rows_of(self, moment: Moment, verdict: str, headline: str) -> Iterator[Row]:
        """Yield the row of a moment; the end of a test that failed says so. An empty line has none."""
        if moment.entry is not None:
            yield self._row_of_entry(moment, moment.entry)
        elif moment.request is not None:
            yield self._row_of_request(moment)
        elif moment.source == "test":
            fails = moment.text == "ends" and verdict
            yield Row(moment.at, "test", "", "", headline if fails else moment.text, verdict if fails else "")
        elif moment.done:
            kind = "fault" if moment.source == PROXY else "process"
            whose = "" if kind == "fault" else f"{self._titles.get(moment.source, moment.source)} "
            killed = "killed" if moment.text.startswith("killed") else ""
            yield Row(moment.at, kind, moment.source, "", whose + moment.text, killed)
        elif moment.text or moment.more:
            yield self._row_of_line(moment)

    def _row_of_entry(self, moment: Moment, entry: Entry) -> Row:
        bot = self._lane(entry.to or entry.user)
        start, end = (self._server, bot) if entry.to else (bot, self._server)
        if not entry.forwarded and entry.rule:
            end = PROXY
        detail = {
            "request": f"{entry.method} {entry.path}{'?' + entry.query if entry.query else ''}",
            "by": f"the homeserver, to {entry.to}" if entry.to else entry.user or "not known",
            "outcome": moment.text,
            "fault": entry.rule or "",
            "note": entry.note,
            "body sent": _pretty(entry.sent),
            "body answered": _pretty(entry.answered),
            "brought": "\n".join(entry.brought),
            "made": entry.made,
        }
        text = f"{entry.method} {self._short(entry.path)} → {_outcome(entry)}"
        text += f", {len(entry.brought)} new" if entry.brought else ""
        via = PROXY if end != PROXY else ""
        is_dull = bool(dullness(moment.request))
        return Row(moment.at, "request", start, end, text, _mark(entry), is_dull, via, detail=_filled(detail))

    def _row_of_request(self, moment: Moment) -> Row:
        """Draw a request that only the homeserver's log knows."""
        request = moment.request
        assert request is not None
        took = "" if request.took_s is None else f", {1000 * request.took_s:.0f} ms"
        who = self._named(request.user) or "harness"
        text = f"{who}: {request.method} {self._short(request.path)} → {request.status}{took}"
        detail = {"request": f"{request.method} {request.path}", "by": request.user, "outcome": moment.text}
        asked_in_vain = request.method == "GET" and request.status == 404  # whether something is there
        gone = request.status == CLIENT_GONE
        mark = "refused" if request.failed and not asked_in_vain and not gone else ""
        # Where people have seen the message itself, the request that sent it adds nothing.
        polls = request.path.endswith("/sync") or "/send/" in request.path
        is_upkeep = polls or gone or who == "harness" or bool(dullness(request))
        start = self._lane(request.user)
        return Row(moment.at, "request", start, moment.source, text, mark, is_upkeep, detail=_filled(detail))

    def _row_of_line(self, moment: Moment) -> Row:
        whole = "\n".join([moment.text, *moment.more])[:LONGEST]
        text, level = _said(moment.text[:LONGEST])
        if not level and moment.more and SERIOUS.search(whole):
            level = "error"
        detail = {"line": _pretty(whole)}
        is_dull = NOBODY_WAITS in text
        mark = "" if is_dull else level
        return Row(moment.at, "log", moment.source, "", text, mark, is_dull, guessed=moment.guessed, detail=detail)

    def row_of_event(self, event: SeenEvent, by: str) -> Row:
        """Draw an event in a room: on its way to the homeserver, or the bot's from there to one who saw it."""
        lane = self._lane(event.sender)
        start, end = (self._server, self._lane(by)) if lane in self._bots else (lane, self._server)
        kind = "message" if event.type in ("m.room.message", "m.room.encrypted", "m.reaction") else "event"
        detail = {
            "event": event.event_id,
            "type": event.type,
            "room": event.room_id,
            "sender": event.sender,
            "encrypted": "yes" if event.encrypted else "could not be decrypted" if event.is_unreadable else "",
            "content": json.dumps(redacted(event.content), ensure_ascii=False, indent=1)[: 2 * LONGEST],
        }
        mark = "unreadable" if event.is_unreadable else ""
        text = f"{self._named(event.sender)}: {self._in_words(event)}"
        return Row(event.at, kind, start, end, text, mark, kind == "event", detail=_filled(detail))

    def _named(self, user: str) -> str:
        name = _local(user)
        return self._titles.get(name, name)

    def _short(self, path: str) -> str:
        """Return a path without what all have, with short names and the beginnings of ids."""
        path = USER.sub(lambda found: f"@{self._named(found[0])}", API.sub("…/", path))
        return ID.sub(r"\1…", TRANSACTION.sub(r"\1", path))

    def _in_words(self, event: SeenEvent) -> str:
        """Return an event in a few words."""
        if event.new_body is not None:
            return f"edited: {event.new_body}"
        if event.body is not None:
            return event.body
        if event.reacts_to is not None:
            return f"reacted {event.relation.get('key', '')}"
        if event.type == "m.room.member":
            whom = event.state_key or ""
            return f"{event.content.get('membership')}" + (f" {self._named(whom)}" if whom != event.sender else "")
        said = next((event.content[key] for key in ("name", "topic", "replacement_room") if key in event.content), "")
        return f"{event.type} {said}".strip()

    def _first_person(self) -> str:
        return PEOPLE if self._shared else self._people[0]

    def _lane(self, user: str | None) -> str:
        name = _local(user or "")
        if name in self._bots or (name in self._people and not self._shared):
            return name
        if not user and len(self._bots) == 1:  # a request without a token that passed the bot's proxy
            return self._bots[0]
        return self._first_person()


def _local(user: str) -> str:
    """Return a user's localpart."""
    return user.removeprefix("@").partition(":")[0]


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Return a title for each localpart: without what makes it unique on its homeserver, where that leaves a name.

    `people.accounts.unique_localpart` makes such names.
    """
    short = {name: UNIQUE.sub("", name) for name in names}
    count = Counter(short.values())
    return {name: title if title and count[title] == 1 else name for name, title in short.items()}


def _outcome(entry: Entry) -> str:
    if entry.duration_s is None:
        return "open"
    said = "no answer" if entry.status is None else str(entry.status)
    return f"{said}, {1000 * entry.duration_s:.0f} ms"


def _mark(entry: Entry) -> str:
    if entry.rule:
        return "fault"
    if entry.duration_s is None:
        return "open"
    if entry.status is None:
        return "client left" if entry.note == CLIENT_LEFT else "no answer"
    if entry.status >= 400:
        return "refused"
    return "slow" if entry.duration_s > SLOW_S and not entry.path.endswith("/sync") else ""


def _said(line: str) -> tuple[str, str]:
    """Return a log line for a reader and its level; a JSON line becomes its event and its other keys."""
    try:
        entry = json.loads(line) if line.startswith("{") else None
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        level = "error" if SERIOUS.search(line) else "warning" if WARNING.search(line) else ""
        dated = WHEN.match(line)
        return (line[dated.end() :] if dated else line).strip(), level
    event = str(entry.pop("event", entry.pop("message", entry.pop("msg", ""))))
    level = LEVELS.get(str(entry.pop("level", "")).lower(), "")
    for key in ("timestamp", "time", "ts", "@timestamp"):
        entry.pop(key, None)
    return " ".join([event, *(f"{key}={_flat(value)}" for key, value in entry.items())]).strip(), level


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except ValueError:
        return text


def _filled(detail: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in detail.items() if value}
