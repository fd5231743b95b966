"""What of the events of a bot is an answer: a message with all its edits is one answer, and so is a reaction.

A pure function of events. So a verdict can be computed again from the events that a bundle keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from greenroom.people.plain import plain_text, without_quote
from greenroom.people.seen import Raw, SeenEvent

MEDIA = frozenset({"m.image", "m.file", "m.audio", "m.video", "m.location"})


class Kind(StrEnum):
    """The way in which a bot answered."""

    TEXT = "text"
    NOTICE = "notice"
    EMOTE = "emote"
    FORMATTED_ONLY = "formatted only"  # no `body`, but a `formatted_body`
    MEDIA = "media"
    REPLY = "reply"
    THREAD = "thread"
    EDIT = "edit"  # any message that was edited at least once
    REACTION = "reaction"


@dataclass(frozen=True)
class Answer:
    """One answer. `text` is what a reader sees now: the text after the last edit, or the emoji of a reaction."""

    kind: Kind
    text: str
    event: SeenEvent  # the first one: the message before its edits, or the reaction
    edits: int = 0
    about: str | None = None  # the id of the event that it answers, if it says so
    thread: str | None = None  # the id of the event that began its thread
    first_text: str = ""  # the text before the edits
    at_index: int = 0  # of the first event, in the events given

    @property
    def event_id(self) -> str:
        """The id of the first event."""
        return self.event.event_id

    @property
    def room_id(self) -> str:
        """The room."""
        return self.event.room_id

    @property
    def sender(self) -> str:
        """Who answered."""
        return self.event.sender

    @property
    def content(self) -> Raw:
        """The content of the first event."""
        return self.event.content

    @property
    def encrypted(self) -> bool:
        """Whether the answer was encrypted."""
        return self.event.encrypted

    @property
    def body(self) -> str:
        """The text, under the name that it has in an event."""
        return self.text

    def __str__(self) -> str:
        """Return the answer for a person to read: "'hello'", "a reaction 👍", "'thinking…', edited to 'hello'"."""
        if self.kind is Kind.REACTION:
            return f"a reaction {self.text}"
        if self.edits:
            times = "" if self.edits == 1 else f" {self.edits} times, at last"
            return f"{_cut(self.first_text)}, edited{times} to {_cut(self.text)}"
        way = {Kind.FORMATTED_ONLY: " (only as formatted_body)", Kind.MEDIA: f" ({self.content.get('msgtype')})"}
        return _cut(self.text) + way.get(self.kind, "")


def answers(
    events: Iterable[SeenEvent], *, sender: str, room: str | None = None, after: str | None = None
) -> list[Answer]:
    """Return the answers of `sender`, in one room or all, of which the first event came after the event id `after`.

    An edit belongs to its message, however late it comes. A message or reaction that its sender has redacted is no
    answer: some bots take back a placeholder.
    """
    listed = list(events)
    own = {event.event_id: event for event in listed if event.sender == sender}
    taken_back = {event.redacts for event in own.values() if event.redacts}
    edits = _edits(own.values())
    begin = 0 if after is None else _position(listed, after) + 1
    found = []
    for index in range(begin, len(listed)):
        event = listed[index]
        if event.sender == sender and event.event_id not in taken_back and room in (None, event.room_id):
            answer = _answer(event, edits.get(event.event_id, []), listed, index)
            found += [answer] if answer else []
    return found


def _position(events: Sequence[SeenEvent], event_id: str) -> int:
    return next((index for index, event in enumerate(events) if event.event_id == event_id), len(events))


def _edits(events: Iterable[SeenEvent]) -> dict[str, list[SeenEvent]]:
    """Map the id of each message to its edits. Clients ignore an edit of an edit, so it is not found here either."""
    edits: dict[str, list[SeenEvent]] = {}
    for event in events:
        if event.type == "m.room.message" and event.replaces and isinstance(event.content.get("m.new_content"), dict):
            edits.setdefault(event.replaces, []).append(event)
    return edits


def _answer(event: SeenEvent, edits: list[SeenEvent], events: Sequence[SeenEvent], index: int) -> Answer | None:
    if event.type == "m.reaction" and event.reacts_to:
        key = str(event.relation.get("key", ""))
        return Answer(Kind.REACTION, key, event, about=event.reacts_to, first_text=key, at_index=index)
    if event.type not in ("m.room.message", "m.sticker") or event.replaces or not event.content:
        return None
    first = text_of(event.content)
    return Answer(
        Kind.EDIT if edits else _kind(event),
        text_of(edits[-1].content["m.new_content"]) if edits else first,
        event,
        len(edits),
        about=_about(event, events[:index]),
        thread=_thread(event),
        first_text=first,
        at_index=index,
    )


def text_of(content: Raw) -> str:
    """Return the text of the content of a message: its body, or else its `formatted_body` without the tags."""
    body = content.get("body")
    if not isinstance(body, str) or not body.strip():
        formatted = content.get("formatted_body")
        return plain_text(formatted) if isinstance(formatted, str) else ""
    relation = content.get("m.relates_to")
    return without_quote(body) if isinstance(relation, dict) and "m.in_reply_to" in relation else body


def _kind(event: SeenEvent) -> Kind:
    if _thread(event):
        return Kind.THREAD
    if event.replies_to:
        return Kind.REPLY
    if event.type == "m.sticker" or event.content.get("msgtype") in MEDIA:
        return Kind.MEDIA
    if not (event.body or "").strip() and "formatted_body" in event.content:
        return Kind.FORMATTED_ONLY
    return {"m.notice": Kind.NOTICE, "m.emote": Kind.EMOTE}.get(str(event.content.get("msgtype")), Kind.TEXT)


def _thread(event: SeenEvent) -> str | None:
    root = event.relation.get("event_id")
    return str(root) if event.relation.get("rel_type") == "m.thread" and root else None


def _about(event: SeenEvent, before: Sequence[SeenEvent]) -> str | None:
    """Return the id of the event that a message answers, if the message says so without a doubt.

    A reply to a message of the same sender answers what that message answers. In a thread, a fallback reply names any
    event of the thread, so only the root counts, and only while nobody else has written in that thread.
    """
    root, to = _thread(event), event.replies_to
    if root and (to in (None, root) or event.relation.get("is_falling_back")):
        others = (e for e in before if e.sender != event.sender and _thread(e) == root)
        to = root if next(others, None) is None else None
    own = next((e for e in before if e.event_id == to and e.sender == event.sender), None)
    return _about(own, before[: before.index(own)]) if own else to


def _cut(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def described(answers: Iterable[Answer], room: str | None) -> Iterator[str]:
    """Yield each answer for a person to read, with its room if that is not `room`."""
    for answer in answers:
        elsewhere = f"in another room {answer.room_id}: " if room not in (None, answer.room_id) else ""
        yield f"{answer.sender}: {elsewhere}{answer}"
