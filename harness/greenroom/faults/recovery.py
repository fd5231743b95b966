"""How a homeserver catches up with an application service that was away, as its transactions tell.

After a transaction that fails, Synapse keeps all later events and tries again after 2 s, 4 s, 8 s and so on. Once the
service takes that transaction, it sends the others one by one, and then whatever comes at once: _Recoverer in
synapse/appservice/scheduler.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.faults.transcript import Entry

JUST_S = 0.5  # much less than the 2 s until the next try
SETTLES_S = 0.3


def until_just_tried(transactions: Sequence[Entry], now: float) -> str | None:
    """Return None if the homeserver keeps nothing back, or has just tried in vain; otherwise what is missing.

    A service that starts then has some seconds before the events that it missed arrive. At any other time it would be
    chance whether they find it half started.
    """
    if not transactions or _taken(transactions[-1]):
        return None
    ended = _ended(transactions[-1])
    return None if ended is not None and now - ended < JUST_S else "the homeserver has not tried again yet"


def until_settled(transactions: Sequence[Entry], now: float) -> str | None:
    """Return None unless the homeserver is catching up; otherwise what is missing until it is through.

    An event of that very moment may stay behind until the next recovery: Synapse has read that the service is down, and
    stores the transaction after it has looked for the last one.
    """
    if not any(_failed(entry) for entry in transactions) or _failed(transactions[-1]):
        return None
    ended = _ended(transactions[-1])
    return None if ended is not None and now - ended >= SETTLES_S else "the homeserver is catching up"


def _taken(entry: Entry) -> bool:
    return entry.duration_s is not None and entry.status == 200


def _failed(entry: Entry) -> bool:
    return entry.duration_s is not None and entry.status != 200


def _ended(entry: Entry) -> float | None:
    return None if entry.duration_s is None else entry.at + entry.duration_s
