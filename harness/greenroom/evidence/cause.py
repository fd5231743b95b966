"""Why a bot has not done what it was asked: the best cause known, from its requests and its log.

Everything here is a pure function of what was recorded, so that a bundle gives the same causes as the run.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from greenroom.errors import Cause
from greenroom.evidence.signs.clashes import clashes, ports_in_use
from greenroom.evidence.signs.refusals import (
    clock,
    elsewhere,
    is_join,
    is_send,
    refused,
    repeated,
    room_of,
    short,
    unanswered,
    waits,
)
from greenroom.evidence.signs.tracebacks import LoggedException, exceptions_in
from greenroom.evidence.signs.undecryptable import undecryptable
from greenroom.faults.brought import is_transaction
from greenroom.faults.transcript import Entry

__all__ = ["Cause", "find_causes", "ports_in_use", "repeated"]

MARGIN_S = 0.05  # a request may begin before the proxy has noted the end of the one before
OLD_S = 2.0  # an exception in the log that is older than the question by so much is not its cause
SEARCHED = 1_000_000  # characters of the log, from its end
ENVIRONMENT = re.compile(r"environ|getenv")
SERIOUS = ("refused", "wrong room", "login refused", "token refused", "join refused")


def find_causes(
    requests: Sequence[Entry] | None,
    log: str,
    *,
    user_id: str,
    since: float,
    asked: str | None = None,
    later: Collection[str] = (),
    own: Sequence[Path] = (),
    room: str | None = None,
    ended: str = "",
    now: float | None = None,
    holders: Mapping[int, str] | None = None,
) -> list[Cause]:
    """Return why the bot `user_id` has not done what was expected since then, the best cause first.

    `requests` are those of its proxy, None if it has no proxy. `since` and `now` are seconds since the epoch; pass
    `now` where a record is judged later. `asked` and `room` are the event id of the question and its room, `later` the
    ids of later questions. `own` are the folders with the bot's own code. `ended` says in words how the bot ended, if
    it has. `holders` says who listens on the ports that `ports_in_use(log)` returns.
    """
    now = time.time() if now is None else now
    log = log[-SEARCHED:]
    around = [entry for entry in requests or () if entry.user in (user_id, None)]
    mine = [entry for entry in around if not entry.to]
    received = _received(around, asked, since)
    service = any(entry.to for entry in around)
    not_taken = list(_not_taken(around)) if received is None else []
    recent = [entry for entry in mine if entry.at >= min(since, received or since) - MARGIN_S]
    exceptions = exceptions_in(log, own)
    collisions = clashes(log, holders or {})
    causes = list(_ended(ended, exceptions, collisions, own) if ended else collisions)
    if requests is not None and not ended and not not_taken:
        causes += _never_came(requests, mine, since, user_id)
    # A login happens once, before everything else, so all of them count.
    causes += [cause for cause in refused(mine) if cause.kind == "login refused"]
    before = mine[: len(mine) - len(recent)]
    failures = [cause for cause in refused(recent, before) if cause.kind != "login refused"]
    causes += elsewhere(recent, room) if room else ()
    causes += [cause for cause in failures if cause.kind in SERIOUS]
    if not ended and not collisions:
        causes += _logged(exceptions, since, own)
    causes += waits(recent, now)
    causes += [cause for cause in failures if cause.kind == "fault"]
    if not ended:
        causes += unanswered(recent, now)
        causes += _not_joined(mine, room, received) if not causes else ()
        causes += _left_out(mine, later) if asked and received is None and not causes else ()
        causes[:0] = undecryptable(recent, log) if received is not None else ()  # a refused upload of keys says less
        causes += not_taken if not causes else ()
        causes += _silence(mine, received, since, now, asked, service) if mine and not causes else ()
    return list(dict.fromkeys(causes))


# -- its start and its end


def _ended(
    ended: str, exceptions: Sequence[LoggedException], collisions: Sequence[Cause], own: Sequence[Path]
) -> Iterator[Cause]:
    if collisions:
        why = collisions[0].headline.removeprefix("the bot ")
        yield Cause(collisions[0].kind, f"the bot {ended}: it {why}", collisions[0].details, True)
    elif exceptions:
        last = next((one for one in reversed(exceptions) if not one.aside), exceptions[-1])
        yield Cause("ended", f"the bot {ended}: {_in_words(last)}", last.shown(own), True)


def _logged(exceptions: Sequence[LoggedException], since: float, own: Sequence[Path]) -> Iterator[Cause]:
    """Yield the last exception in the log, unless the log says that it is old."""
    for exception in exceptions[-1:]:
        if exception.at is None or exception.at >= since - OLD_S:
            same = sum(other.line == exception.line for other in exceptions)
            times = f" (the same {same} times)" if same > 1 else ""
            headline = f"the bot's log has {_in_words(exception)}{times}"
            yield Cause("exception", headline, exception.shown(own), True)


def _in_words(exception: LoggedException) -> str:
    """Return an exception in one line. Say so where it is a variable that is not set."""
    if exception.name == "KeyError" and any(
        ENVIRONMENT.search(frame.source) or Path(frame.file).name in ("os.py", "<frozen os>")
        for frame in exception.frames[-2:]
    ):
        return f"{exception.line}: the bot reads an environment variable that is not set"
    return exception.line


def _never_came(requests: Sequence[Entry], mine: Sequence[Entry], since: float, user_id: str) -> Iterator[Cause]:
    """Yield that the homeserver has never heard of this bot."""
    others = sorted({entry.user for entry in requests if entry.user not in (None, user_id)})
    if not mine and others:
        whose = ", ".join(map(str, others))
        yield Cause("other account", f"the bot uses {whose}, not {user_id}: does it read MATRIX_USER_ID?")
    elif not mine:
        yield Cause("no request", "the bot has made no request at all: does it read MATRIX_HOMESERVER, or ${…} of it?")


# -- rooms, and silence


def _not_joined(mine: Sequence[Entry], room: str | None, received: float | None) -> Iterator[Cause]:
    """Yield that the bot never asked to join. A room that it made itself, or that brought it events, needs no join."""
    if received is not None or not mine or any(entry.path.endswith("/createRoom") for entry in mine):
        return
    joins = [entry for entry in mine if is_join(entry)]
    by_alias = any((room_of(entry) or "").startswith("#") for entry in joins)
    if room and not by_alias and not any(room_of(entry) == room for entry in joins):
        rooms = ", ".join(sorted({str(room_of(entry)) for entry in joins}))
        made = f"its requests to join were for {rooms}" if joins else "it has made no request to join a room"
        yield Cause("not joined", f"the bot has not joined {room}: {made}")
    elif not room and not joins and not any(entry.brought for entry in mine):
        yield Cause("not joined", "the bot has joined no room: it has made no request to join one")


def _received(mine: Sequence[Entry], asked: str | None, since: float) -> float | None:
    """Return when a sync brought the question; without a question, when the first sync since then brought anything."""
    came = [_answered_at(e) for e in mine if (asked in e.brought if asked else e.brought and _answered_at(e) >= since)]
    return min(came, default=None)


def _answered_at(entry: Entry) -> float:
    return math.inf if entry.duration_s is None else entry.at + entry.duration_s


def _left_out(mine: Sequence[Entry], later: Collection[str]) -> Iterator[Cause]:
    """Yield that the bot received later questions and not this one."""
    if any(event_id in entry.brought for entry in mine for event_id in later):
        fetched = any("/messages" in entry.path for entry in mine)
        how = "what it fetched with /messages is not known here" if fetched else "the bot did not fetch them"
        says = "no sync brought the bot the question, though one brought later ones"
        yield Cause("left out", f"{says}: a sync leaves the older of many messages out, and {how}")


def _not_taken(around: Sequence[Entry]) -> Iterator[Cause]:
    """Yield that an application service has not taken what its homeserver sent last."""
    sent = [entry for entry in around if is_transaction(entry.path)]
    if sent and sent[-1].status != 200:
        last = sent[-1]
        by = f" [{last.rule}, a fault of this test]" if last.rule else ""
        said = "gave no answer to" if last.status is None else f"answered {last.status} to"
        headline = f"the bot has not taken the events: it {said} the transaction at {clock(last.at)}{by}"
        again = "the homeserver tries again, after 2 s, then 4 s, and so on"
        yield Cause("not taken", headline, (last.note, again) if last.note else (again,))


def _silence(
    mine: Sequence[Entry], received: float | None, since: float, now: float, asked: str | None, service: bool
) -> Iterator[Cause]:
    what = "the question" if asked else "something new"
    if received is not None:
        after = [e for e in mine if e.at >= received - MARGIN_S and _answered_at(e) > received]
        came = f"the bot received {what} at {clock(received)}"
        if not after and service:  # which asks for nothing, so no request shows that it goes on
            yield Cause("chose silence", f"{came}, and has sent no request since: did it take that for a question?")
        elif not after:
            yield Cause("blocked", f"{came}, and has sent no request since ({now - received:.1f} s): is it blocked?")
        elif asked and not any(is_send(entry) for entry in after):
            count = sum(entry.path.endswith("/sync") for entry in after)
            others = sorted({short(entry) for entry in after if not entry.path.endswith("/sync")})
            details = (f"its other requests since: {', '.join(others[:5])}",) if others else ()
            did = came if service else f"{came}, went on syncing ({count} since)"
            did += ", and sent nothing"
            yield Cause("chose silence", f"{did}: did it take that for a question?", details)
        return
    if service:  # it does not ask for events
        return
    last = mine[-1]
    syncs = [entry for entry in mine if entry.path.endswith("/sync")]
    quiet_s = now - _answered_at(last)
    if not syncs:
        yield Cause("no sync", f"the bot has made no sync; its last request was {short(last)} at {clock(last.at)}")
    elif last.duration_s is not None and quiet_s > 1.0:
        headline = f"the bot has not received {what}: it has made no request since {clock(_answered_at(last))}"
        yield Cause("blocked", f"{headline} ({quiet_s:.1f} s): is it blocked?", (f"the last was {short(last)}",))
    elif asked:
        yield _no_news(syncs[-1], now)


def _no_news(sync: Entry, now: float) -> Cause:
    by = f" [{sync.rule}, a fault of this test]" if sync.rule else ""
    if sync.duration_s is None:
        state = f"has no answer yet ({now - sync.at:.1f} s)"
    else:
        state = "got no answer" if sync.status is None else f"was answered with {sync.status}, without the question"
    headline = f"the bot has not received the question: its last sync began at {clock(sync.at)} and {state}{by}"
    return Cause("not received", headline, ("is it in the room, and does its filter let messages through?",))
