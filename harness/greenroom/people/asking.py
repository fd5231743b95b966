"""Ways to ask a bot: a plain message, a mention, a reply to one of its messages, a message in a thread."""

from __future__ import annotations

from enum import StrEnum
from html import escape
from typing import Any
from urllib.parse import quote

from greenroom.errors import Misuse


class Way(StrEnum):
    """A way to ask. A command prefix (`!ping`) is no way of its own: it is a part of the text."""

    PLAIN = "plain"
    MENTION = "mention"  # `m.mentions`, and a pill in front of the text
    REPLY = "reply"  # to an earlier message of the bot
    THREAD = "thread"  # in a thread that an earlier message began, or that now begins


def checked_way(way: str) -> Way:
    """Return the way with that name. Raises Misuse."""
    try:
        return Way(way)
    except ValueError:
        raise Misuse(f"no way to ask is called {way!r}; there are {', '.join(Way)}") from None


def ask_content(
    text: str,
    way: str = Way.PLAIN,
    bot_user_id: str = "",
    bot_name: str | None = None,
    event_id: str | None = None,
) -> dict[str, Any]:
    """Return the content of a question.

    A mention and a reply need `bot_user_id`. A reply and a thread need `event_id`: for a reply the message of the bot,
    for a thread the event that begins it, which must not be in a thread itself. Raises Misuse.
    """
    chosen = checked_way(way)
    content: dict[str, Any] = {"msgtype": "m.text", "body": text}
    if chosen in (Way.REPLY, Way.THREAD) and not event_id:
        raise Misuse(f"to ask as a {chosen}, name an earlier event (`to=`), or let the bot say something first")
    if chosen in (Way.MENTION, Way.REPLY):
        if not bot_user_id:
            raise Misuse(f"to ask as a {chosen}, name the bot")
        content["m.mentions"] = {"user_ids": [bot_user_id]}
    if chosen is Way.MENTION:
        content |= _with_pill(text, bot_user_id, bot_name or bot_user_id)
    elif chosen is Way.REPLY:
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": event_id}}
    elif chosen is Way.THREAD:
        # A client without threads shows this as a reply (spec v1.4, "Fallback for unthreaded clients").
        fallback = {"is_falling_back": True, "m.in_reply_to": {"event_id": event_id}}
        content["m.relates_to"] = {"rel_type": "m.thread", "event_id": event_id, **fallback}
    return content


def _with_pill(text: str, user_id: str, name: str) -> dict[str, str]:
    """Return the body and the HTML as Element writes them: `Bot: text`, with a link to the bot."""
    pill = f'<a href="https://matrix.to/#/{quote(user_id, safe="@:")}">{escape(name)}</a>'
    formatted = f"{pill}: {escape(text, quote=False)}"
    return {"body": f"{name}: {text}", "format": "org.matrix.custom.html", "formatted_body": formatted}
