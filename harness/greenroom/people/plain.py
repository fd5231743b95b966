"""The plain text of a message that has only HTML, and of a reply without the quotation above it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

# The fallback of a rich reply, which old clients write above the text (spec v1.12, "Fallbacks for rich replies").
QUOTED_REPLY = re.compile(r"\A> (?:\* )?<@[^\n]*\n(?:>[^\n]*\n)*\n?")
ENDS_A_LINE = frozenset({"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote"})


def without_quote(body: str) -> str:
    """Return the text of a reply without the message that it quotes."""
    return QUOTED_REPLY.sub("", body)


def plain_text(html: str) -> str:
    """Return the text of a `formatted_body`, without tags and without the quotation of a reply (`mx-reply`)."""
    reader = _TextOf()
    reader.feed(html)
    reader.close()
    return "".join(reader.parts).strip()


class _TextOf(HTMLParser):
    """Collects text. `convert_charrefs` is on, so `&amp;` arrives as `&`."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._quotes = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._quotes += tag == "mx-reply"
        if tag == "br":
            self.handle_data("\n")

    def handle_endtag(self, tag: str) -> None:
        self._quotes -= tag == "mx-reply"
        if tag in ENDS_A_LINE:
            self.handle_data("\n")

    def handle_data(self, data: str) -> None:
        if self._quotes <= 0:
            self.parts.append(data)
