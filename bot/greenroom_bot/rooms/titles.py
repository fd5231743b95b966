"""What a room may be called: one line of bounded length, without characters that hide or turn around what follows.

The same function cleans what people type and what a homeserver says, so that records and homeserver agree.
"""

from __future__ import annotations

import unicodedata

from greenroom_bot.matrix.ids import ChatId, UserId, localpart_of
from greenroom_bot.rooms.records import SPACE_CHAT_ID

TITLE_MAX = 120
"""Characters (code points) of a title, at most 480 bytes. A longer one is cut."""
_JOINERS = "\u200c\u200d"
"""Invisible, but some scripts and many emoji are written with them: the only characters of their category to stay."""
_UNWANTED = ("Cc", "Cf", "Cs")
"""Control characters, format characters (direction marks among them), lone surrogates."""


def clean_title(title: str) -> str:
    """Return the title on one line, without unwanted characters, cut to TITLE_MAX; "" if nothing visible is left.

    A clean title stays as it is.
    """
    kept = "".join(c for c in title if c.isspace() or c in _JOINERS or unicodedata.category(c) not in _UNWANTED)
    line = _cut(" ".join(kept.split()))  # line separators are white space, too
    return line if any(map(_is_visible, line)) else ""


def title_or_default(title: str, chat_id: ChatId, owner: UserId) -> str:
    """Return the clean title, or the name that the bot gives to an untitled room."""
    if clean := clean_title(title):
        return clean
    name = f"Chats of {localpart_of(owner)}" if chat_id == SPACE_CHAT_ID else f"Chat {chat_id.removeprefix('C')}"
    return clean_title(name)


def _cut(title: str) -> str:
    """Shorten a title before the character that would be torn apart: an emoji or a letter with its marks."""
    end = TITLE_MAX
    if len(title) > TITLE_MAX:
        while end and (_continues(title[end]) or title[end - 1] in _JOINERS):
            end -= 1
    return title[: end or TITLE_MAX].strip()


def _continues(character: str) -> bool:
    """Return whether a character belongs to the one before it: a mark, a joiner, a skin tone."""
    return character in _JOINERS or unicodedata.category(character).startswith("M") or "🏻" <= character <= "🏿"


def _is_visible(character: str) -> bool:
    return not (character.isspace() or _continues(character))
