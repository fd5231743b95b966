"""Whether a bot is at rest, as its requests tell: it has received its own last message, and then synced again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from greenroom.faults.brought import is_send, is_sync
from greenroom.faults.transcript import Entry

GRACE_S = 0.075  # for a bot that hands messages to a background task and syncs meanwhile


def sends(requests: Sequence[Entry]) -> list[Entry]:
    """Return the requests that send an event."""
    return [entry for entry in requests if is_send(entry.method, entry.path)]


def unrest(requests: Sequence[Entry], now: float, *, hears_itself: bool = True) -> str | None:
    """Return what is missing until a bot is at rest, or None. `requests`: its own, since the question.

    `hears_itself=False`: a filter keeps its own messages out of its syncs, so they tell nothing.
    """
    sent = sends(requests)
    if not sent:
        return None
    if any(entry.duration_s is None for entry in sent):
        return "it is sending"
    if sent[-1].status in (None, 429) or (sent[-1].status or 0) >= 500:
        return "its latest message was not accepted, so it may try again"
    quiet_since = sent[-1].ended
    own = next((entry.made for entry in reversed(sent) if entry.made), "")
    if own and hears_itself:
        syncs = [entry for entry in requests if is_sync(entry.path) or entry.to]
        brought = next((entry for entry in syncs if own in entry.brought and entry.duration_s is not None), None)
        if brought is None:
            return "it has not received its own latest message"
        if brought.to:  # a service asks for nothing, so no request shows that it is through
            return None if now - max(quiet_since, brought.ended) >= GRACE_S else "it rests only for a moment"
        later = next((entry for entry in syncs if entry.at >= brought.ended), None)
        if later is None:
            return "it is busy with its own latest message"
        quiet_since = max(quiet_since, later.at)
    return None if now - quiet_since >= GRACE_S else "it rests only for a moment"


def answers_itself(requests: Sequence[Entry], rounds: int) -> bool:
    """Return whether each of the latest `rounds` messages of a bot followed a sync that brought it the one before.

    A request that was sent again makes no other message. A sync may bring one again: the first time counts.
    """
    first = {entry.made: entry for entry in reversed(sends(requests)) if entry.made}
    sent = sorted(first.values(), key=lambda entry: entry.at)[-rounds - 1 :]
    syncs = [entry for entry in requests if is_sync(entry.path)]
    heard = {event_id: entry.ended for entry in reversed(syncs) for event_id in entry.brought}
    pairs = list(pairwise(sent))
    return len(pairs) == rounds and all(heard.get(one.made, later.at) < later.at for one, later in pairs)


def is_deaf(requests: Sequence[Entry]) -> bool:
    """Return whether a bot's open sync should have brought it its own latest message, and has not."""
    made = [entry for entry in sends(requests) if entry.made]
    syncs = [entry for entry in requests if is_sync(entry.path)]
    if not made or not syncs or any(made[-1].made in entry.brought for entry in syncs):
        return False
    return syncs[-1].duration_s is None and syncs[-1].rule is None
