"""Whether a sync without a token was answered for this question, or may be an old picture from a cache.

Conduit answers a device's second such sync as it answered the first, for ever, whatever the filter. Synapse repeats an
answer to the same question, filter included, for up to two minutes.

Two ways out are not open to tools that use the bot's own device. To continue from the picture's token tells the
homeserver that the bot has received its to-device messages, and the bot loses them. A mark in the account data, which a
new picture would show, is a write: the account's other clients see it, and a dry run writes nothing.

So a question is asked twice, with answers that must differ: the picture's filter leaves the account's push rules out,
and a second sync asks for nothing else. Whichever of the two a cache repeats, one of them is wrong then. A homeserver
that ignores the filter of account data looks like one with a cache. `/joined_rooms` alone would not do: it agrees with
an old picture that lacks an invite.

The first sync of a new device needs no such proof, because no cache can have an answer for it.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import MatrixError

PUSH_RULES = "m.push_rules"
"""Account data that every account has, and that every sync without a token tells (spec: push rules)."""
Send = Callable[[Callable[[], Awaitable[dict[str, Any]]]], Awaitable[dict[str, Any]]]
NOT_CURRENT = (
    "the homeserver does not show that its sync is current (it may come from a cache), so invites and rooms that the "
    "account has left may be others by now"
)


async def _once(request: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    return await request()


def own_filter(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sync filter that no other question has: it also asks for state of a type that does not exist."""
    made = copy.deepcopy(dict(wanted))
    made["room"]["state"]["types"].append(f"dev.greenroom.nonce.{secrets.token_hex(8)}")
    return made


async def is_current(client: Client, picture: Mapping[str, Any], send: Send = _once) -> bool:
    """Return whether the homeserver made this picture when it was asked. False: it may be old.

    `picture`: the answer to a sync without a token, whose filter left the push rules out.
    """
    if _has_push_rules(picture):
        return False
    wanted = {
        "room": {"rooms": [], "state": {"types": []}},
        "presence": {"types": []},
        "account_data": {"types": [PUSH_RULES]},
    }
    query = {"timeout": "0", "filter": json.dumps(own_filter(wanted), separators=(",", ":"))}
    try:
        return _has_push_rules(await send(lambda: client.request("GET", "sync", query=query)))
    except MatrixError:
        return False


def _has_push_rules(sync: Mapping[str, Any]) -> bool:
    section = sync.get("account_data")
    events = section.get("events") if isinstance(section, dict) else None
    found = events if isinstance(events, list) else []
    return any(isinstance(event, dict) and event.get("type") == PUSH_RULES for event in found)
