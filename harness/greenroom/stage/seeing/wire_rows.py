"""A request of the transcript as one row for a person."""

from __future__ import annotations

import re
from datetime import datetime

from greenroom.faults import Entry
from greenroom.faults.brought import is_sync

SLOW_S = 1.0
LONG = 18  # characters of a path's part that are shown: room and event ids are told apart by fewer
API = re.compile(r"^/_matrix/(client|media)/(v\d+|r\d+(\.\d+)*|unstable)/")


def mark_of(entry: Entry) -> str:
    """Return what is special about a request, in a word; empty if nothing is. A long poll is not slow."""
    if entry.duration_s is None:
        return "open"
    if entry.status is None:
        return "unanswered"
    if entry.status >= 400:
        return "refused"
    if entry.duration_s > SLOW_S and not is_sync(entry.path):
        return "slow"
    return "faulty" if entry.rule else ""


def is_idle(entry: Entry) -> bool:
    """Return whether a request is a sync that has brought nothing and was not tampered with."""
    quiet = entry.duration_s is None or (entry.status == 200 and not entry.brought)
    return is_sync(entry.path) and quiet and entry.rule is None


def row_of(entry: Entry) -> str:
    """Return the row: when it ended, its mark, status, time, method, path, user, and the fault that hit it."""
    when = datetime.fromtimestamp(entry.ended).strftime("%H:%M:%S")
    status = "-" if entry.status is None else str(entry.status)
    took = "" if entry.duration_s is None else f"{entry.duration_s * 1000:.0f} ms"
    fault = f"  fault: {entry.rule}" if entry.rule else ""
    user = (entry.user or "-").partition(":")[0]
    outcome = f"{mark_of(entry):<10} {status:>3} {took:>9}"
    return f"{when} {outcome} {user:<8} {entry.method:<6} {short_path(entry.path)}{fault}"


def short_path(path: str) -> str:
    """Return a path without the API's prefix, its ids shortened."""
    parts = API.sub("", path).split("/")
    return "/".join(part if len(part) <= LONG else f"{part[: LONG - 1]}…" for part in parts)


def whole(entry: Entry) -> str:
    """Return all that is known of a request. The proxy has removed its secrets."""
    facts = {
        "sent": entry.sent,
        "answered": entry.answered,
        "fault": entry.rule,
        "note": entry.note,
        "made": entry.made,
        "brought": ", ".join(entry.brought),
    }
    return "\n\n".join([entry.line(), *(f"{name}:\n{value}" for name, value in facts.items() if value)])
