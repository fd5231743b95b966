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
    last = transactions[-1] if transactions else None
    if last is None or last.status == 200 or (_failed(last) and now - last.ended < JUST_S):
        return None
    return "the homeserver has not tried again yet"


def until_settled(transactions: Sequence[Entry], now: float) -> str | None:
    """Return None unless the homeserver is catching up; otherwise what is missing until it is through.

    An event of that very moment may stay behind until the next recovery: Synapse has read that the service is down, and
    stores the transaction after it has looked for the last one.
    """
    last = transactions[-1] if transactions else None
    if last is None or _failed(last) or not any(map(_failed, transactions)):
        return None
    quiet = last.duration_s is not None and now - last.ended >= SETTLES_S
    return None if quiet else "the homeserver is catching up"


def _failed(entry: Entry) -> bool:
    return entry.duration_s is not None and entry.status != 200
