"""Contents of events that relate to another: replies, edits, reactions.

https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events
"""

from __future__ import annotations

from typing import Any


def reply(event_id: str, body: str) -> dict[str, Any]:
    """A text message that replies to an event."""
    return {"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": event_id}}}


def edit(event_id: str, body: str) -> dict[str, Any]:
    """A text message that replaces an earlier one; its own body is the fallback for old clients."""
    new = {"msgtype": "m.text", "body": body}
    relation = {"rel_type": "m.replace", "event_id": event_id}
    return {"msgtype": "m.text", "body": f"* {body}", "m.new_content": new, "m.relates_to": relation}


def reaction(event_id: str, key: str) -> dict[str, Any]:
    """A reaction, `key` being the emoji."""
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": key}}
