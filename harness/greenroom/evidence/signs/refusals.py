"""What went wrong with a bot's requests: refused ones, waits that it did not keep, answers that never came."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from greenroom.errors import Cause
from greenroom.faults.transcript import Entry

PREFIX = re.compile(r"^/_matrix/client/(v3|r0|v1|unstable)")
TRANSACTION = re.compile(r"(/send/[^/]+|/redact/[^/]+)/[^/]+$")
ROOM = re.compile(r"/(?:rooms|join)/([^/]+)")
JOIN = re.compile(r"/join/[^/]+$|/rooms/[^/]+/join$")
OPEN_FOR_S = 1.0  # a request that has waited this long for its answer is worth a word
TRIES_AGAIN_WITHIN_S = 1.0  # beyond the wait that it was told
KEPT_PART = 0.8  # of the wait: clocks and timers are not exact
SHOWN_SENT = 300


def short(entry: Entry) -> str:
    """Return a request in a few words: the method and the path, without prefix and transaction id."""
    path = TRANSACTION.sub(r"\1", PREFIX.sub("", unquote(entry.path)))
    return f"{entry.method} {path}"


def room_of(entry: Entry) -> str | None:
    """Return the room id or alias in a request's path."""
    found = ROOM.search(unquote(entry.path))
    return found[1] if found else None


def is_send(entry: Entry) -> bool:
    """Return whether a request sends an event that people see in a room."""
    return entry.method == "PUT" and "/send/" in entry.path


def is_join(entry: Entry) -> bool:
    """Return whether a request joins a room."""
    return entry.method == "POST" and JOIN.search(entry.path) is not None


def clock(at: float) -> str:
    """Return a time of day as in the timeline: UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def refused(requests: Sequence[Entry], before: Sequence[Entry] = ()) -> list[Cause]:
    """Return the requests that got an error and did not succeed later, each kind once: writes first.

    An error that a rule of the test made is reported as the test's doing. A 404 on a read is no trouble: many
    bots look whether something exists. Nor is what the homeserver has refused `before` in the same way, if the bot sent
    messages after that: a bridge registers its own account at each start.
    """
    groups: dict[tuple[str, int, str | None], list[Entry]] = {}
    for entry in requests:
        if entry.status is not None and entry.status >= 400 and not (_is_harmless(entry) or _is_usual(entry, before)):
            groups.setdefault((short(entry), entry.status, entry.rule), []).append(entry)
    left = [g for g in groups.values() if not any(_succeeds(later, g[-1]) for later in requests)]
    left.sort(key=lambda group: (group[0].rule is not None, not group[0].is_write, group[0].at))
    return [_refusal(group) for group in left]


def _is_harmless(entry: Entry) -> bool:
    return entry.status == 429 or (entry.status == 404 and entry.method == "GET")


def _is_usual(entry: Entry, before: Sequence[Entry]) -> bool:
    if entry.status == 401 or room_of(entry):
        return False
    last = max(
        (e.at for e in before if (short(e), e.status, e.rule) == (short(entry), entry.status, None)), default=None
    )
    return last is not None and any(is_send(e) and e.status == 200 and e.at > last for e in before)


def _succeeds(later: Entry, entry: Entry) -> bool:
    answered = later.status is not None and later.status < 400
    return answered and later.at > entry.at and short(later) == short(entry)


def _refusal(group: Sequence[Entry]) -> Cause:
    entry = group[-1]
    times = f" (the same {len(group)} times)" if len(group) > 1 else ""
    what = f"{short(entry)} was refused: {entry.status} {_error(entry)}".rstrip() + times
    if entry.rule:
        return Cause("fault", f"the bot met a fault of this test: {what} [{entry.rule}]", _sent(entry))
    if entry.path.endswith("/login"):
        hint = "does it read MATRIX_PASSWORD and MATRIX_USER_ID, or ${…} of them?"
        return Cause("login refused", f"the bot could not log in: {what}; {hint}")
    if entry.status == 401:
        return Cause("token refused", f"the bot's access token is not valid: {what}")
    if is_join(entry):
        return Cause("join refused", f"the bot could not join {room_of(entry)}: {what}", _sent(entry))
    return Cause("refused", f"the bot's {what}", _sent(entry))


def _error(entry: Entry) -> str:
    body = _json(entry.answered)
    errcode, said = str(body.get("errcode", "")), str(body.get("error", ""))
    if not errcode and not said:
        return " ".join(entry.answered.split())[:100]
    return f"{errcode}: {said}" if said else errcode


def _sent(entry: Entry) -> tuple[str, ...]:
    if not entry.sent:
        return (f"at {clock(entry.at)}, without a body",) if entry.is_write else ()
    cut = entry.sent if len(entry.sent) <= SHOWN_SENT else f"{entry.sent[:SHOWN_SENT]}…"
    return (f"at {clock(entry.at)} it sent {cut}",)


def waits(requests: Sequence[Entry], now: float) -> Iterator[Cause]:
    """Yield the requests that were told to wait and were not tried again, or were tried again too early."""
    told = [entry for entry in requests if entry.status == 429]
    early, never = 0, 0
    for entry in told:
        wait_s = _told_s(entry)
        again = next((later for later in requests if later.at > entry.at and _same(later, entry)), None)
        ended = entry.ended
        by = f" [{entry.rule}, a fault of this test]" if entry.rule else ""
        if again is None and now - ended > (wait_s or 0) + TRIES_AGAIN_WITHIN_S:
            never += 1
            if never == 1:
                waited = f"has not tried again in {now - ended:.0f} s"
                yield Cause("gave up", f"the bot's {short(entry)} was told to wait{_ms(wait_s)}; it {waited}{by}")
        elif again is not None and wait_s and again.at - ended < KEPT_PART * wait_s:
            early += 1
            if early == 1:
                soon = f"it tried again after {1000 * (again.at - ended):.0f} ms"
                yield Cause("wait not kept", f"the bot's {short(entry)} was told to wait{_ms(wait_s)}; {soon}{by}")


def _ms(wait_s: float | None) -> str:
    return "" if wait_s is None else f" {1000 * wait_s:.0f} ms"


def _told_s(entry: Entry) -> float | None:
    told = _json(entry.answered).get("retry_after_ms")
    return told / 1000 if isinstance(told, int | float) else None


def _same(later: Entry, entry: Entry) -> bool:
    return short(later) == short(entry) and later.sent == entry.sent


def unanswered(requests: Sequence[Entry], now: float) -> Iterator[Cause]:
    """Yield the request, other than a sync, that the bot waits for, or that got no answer and was not tried again."""
    for entry in requests:
        if entry.path.endswith("/sync") or entry.status is not None:
            continue
        by = f" [{entry.rule}, a fault of this test]" if entry.rule else ""
        if entry.duration_s is None and now - entry.at > OPEN_FOR_S:
            waits_s = f"since {clock(entry.at)} ({now - entry.at:.0f} s)"
            yield Cause("waits", f"the bot waits for the answer to its {short(entry)}, {waits_s}{by}")
            return
        lost = entry.duration_s is not None and entry.rule is not None
        if lost and not any(later.at > entry.at and _same(later, entry) for later in requests):
            yield Cause("gave up", f"the bot's {short(entry)} got no answer; it has not tried again{by}")
            return


def elsewhere(requests: Sequence[Entry], room: str) -> Iterator[Cause]:
    """Yield that the bot sent to another room than the one that it was asked in, and nothing there."""
    sent = [entry for entry in requests if is_send(entry)]
    away = [entry for entry in sent if room_of(entry) != room]
    if not away or len(away) < len(sent):
        return
    last = away[-1]
    got = f" ({last.status} {_error(last)}".rstrip() + ")" if (last.status or 0) >= 400 else ""
    yield Cause("wrong room", f"the bot sent its answer to {room_of(last)}, and was asked in {room}{got}", _sent(last))


def repeated(requests: Sequence[Entry]) -> list[Cause]:
    """Return what the bot sent more than once under different transaction ids, with what became of each try."""
    by_message: dict[tuple[str, str], list[Entry]] = {}
    for entry in requests:
        if is_send(entry) and entry.reached_server:
            by_message.setdefault((short(entry), entry.sent), []).append(entry)
    return [_repetition(tries) for tries in by_message.values() if len({unquote(t.path) for t in tries}) > 1]


def _repetition(tries: Sequence[Entry]) -> Cause:
    headline = f"the bot sent the same {len(tries)} times, under different transaction ids: {short(tries[0])}"
    return Cause("repeated", headline, tuple(map(_try, tries[:4])))


def _try(entry: Entry) -> str:
    by = f" [{entry.rule}]" if entry.rule else ""
    transaction = entry.path.rpartition("/")[2]
    return f"{clock(entry.at)} transaction {transaction} -> {entry.status or 'no answer'}{by}"


def _json(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
