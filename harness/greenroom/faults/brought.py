"""Which events the answer to a `/sync`, or a transaction, brought to a bot, and which event a send made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

KEPT_IDS = 500
TRANSACTION = re.compile(r"(/_matrix/app/[^/]+)?/transactions/")


def is_sync(path: str) -> bool:
    """Return whether a path is that of `/sync`, or of simplified sliding sync (MSC4186)."""
    return path.endswith("/sync")


def is_transaction(path: str) -> bool:
    """Return whether a path is that of a transaction for an application service (spec v1.2, "Pushing events").

    A service may know only the old path, without `/_matrix/app/v1`. Synapse tries that one after a 404.
    """
    return TRANSACTION.match(path) is not None


def is_send(method: str, path: str) -> bool:
    """Return whether a request sends a message, a reaction or another event. Receipts and typing are none."""
    return method == "PUT" and "/send/" in path


def delivered_by(body: bytes) -> tuple[str, ...]:
    """Return the ids of the events in a transaction's body, oldest first."""
    try:
        return tuple(str(event["event_id"]) for event in json.loads(body)["events"])
    except (ValueError, TypeError, KeyError):  # not the transaction of a homeserver
        return ()


def made_by(body: bytes) -> str:
    """Return the id of the event in the answer to a send."""
    try:
        return str(json.loads(body)["event_id"])
    except (ValueError, TypeError, KeyError):  # not the answer of a homeserver
        return ""


def brought_by(body: bytes) -> tuple[str, ...]:
    """Return the ids of the timeline events in the answer to a sync, oldest first; of very many, the latest 500.

    Only timelines count: elsewhere in an answer an id can be that of an event which another event replies to.
    """
    if b'"timeline"' not in body:  # most answers: saves the decoding
        return ()
    try:
        events = list(_timeline_events(json.loads(body)["rooms"]))
        ids = [str(event["event_id"]) for event in sorted(events, key=lambda event: event.get("origin_server_ts", 0))]
    except (ValueError, TypeError, KeyError, AttributeError):  # not the answer of a homeserver
        return ()
    return tuple(ids[-KEPT_IDS:])


def _timeline_events(rooms: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, inner in rooms.items():
        for room in [inner] if name.startswith("!") else inner.values():  # sliding sync does not sort by membership
            timeline = room.get("timeline", ())
            yield from timeline.get("events", ()) if isinstance(timeline, dict) else timeline
