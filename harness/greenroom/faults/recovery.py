"""How a homeserver catches up with an application service that was away, as its transactions tell.

After a transaction that fails, Synapse keeps all later events and tries again after 2 s, 4 s, 8 s and so on. Once the
service takes that transaction, it sends the others one by one, and then whatever comes at once: _Recoverer in
synapse/appservice/scheduler.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.faults.transcript import Entry

SETTLES_S = 0.3
STARTS_S = 1.0  # much more than a service pauses between two requests of its start


def keeps_back(transactions: Sequence[Entry]) -> bool:
    """Return whether the homeserver keeps events for later: the service has not taken the last transaction."""
    return bool(transactions) and transactions[-1].status != 200


def until_started(requests: Sequence[Entry], now: float, began: float) -> str | None:
    """Return None if a service that has listened since `began` has come to rest; otherwise what is missing.

    `requests`: its own. A service may listen before it has loaded what it needs, and only its requests tell.
    """
    if any(entry.duration_s is None for entry in requests):
        return "a request is open"
    rests_since = max([began, *(entry.ended for entry in requests)])
    return None if now - rests_since >= STARTS_S else "it rests only for a moment"


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
