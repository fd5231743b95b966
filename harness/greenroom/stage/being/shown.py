"""What the page shows of a room: its messages as a reader sees them now, and its changes in short. Pure functions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from greenroom.people.answers import MEDIA, text_of
from greenroom.people.seen import Seen, SeenEvent
from greenroom.seed.survey import SEED_MARKER

LATEST = 200
UNSAID = frozenset(  # what every new room has, what only clients read, and the mark of a seeded room
    {
        "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility", "m.room.guest_access",
        "m.space.parent", SEED_MARKER,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Quote:
    """The message that a reply is about."""

    sender: str
    text: str


@dataclass(frozen=True)
class Reaction:
    """One emoji below a message."""

    key: str
    count: int
    by: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """One line of a timeline. `says` is the text of a message as it is now, or a change of the room in short."""

    event: SeenEvent
    sender: str
    says: str
    at: str  # the time of day here
    kind: str  # message, notice, emote, file or change
    own: bool = False
    edited: bool = False
    redacted: bool = False
    encryption: str = ""  # "encrypted" or "could not be decrypted"; in plain rooms nothing
    quote: Quote | None = None
    reactions: tuple[Reaction, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether it is a change of the room, and no message."""
        return self.kind == "change"


def short_name(user_id: str, server_name: str) -> str:
    """Return a user's localpart, and the whole id of somebody on another homeserver."""
    localpart, _, server = user_id[1:].partition(":")
    return localpart if server == server_name else user_id


def timeline(seen: Seen, room: str, server_name: str, *, limit: int = LATEST) -> list[Shown]:
    """Return the latest lines of a room, oldest first."""
    events = list(seen.events(room))
    related = _Related(events)
    changes = _changes(events, server_name)
    lines = [
        line
        for event in events
        if (line := _change(event, changes, server_name) or _message(event, related, seen, server_name)) is not None
    ]
    return lines[-limit:]


class _Related:
    """Edits, reactions and redactions, by the message that they are about."""

    def __init__(self, events: Iterable[SeenEvent]) -> None:
        self.by_id: dict[str, SeenEvent] = {}
        self.edits: dict[str, SeenEvent] = {}
        self.gone: set[str] = set()
        reactions: list[SeenEvent] = []
        for event in events:
            self.by_id[event.event_id] = event
            if event.redacts:
                self.gone.add(event.redacts)
            elif event.reacts_to:
                reactions.append(event)
            elif event.replaces and (first := self.by_id.get(event.replaces)) and first.sender == event.sender:
                self.edits[event.replaces] = event
        self.edits = {about: edit for about, edit in self.edits.items() if edit.event_id not in self.gone}
        self._reactions: dict[str, list[SeenEvent]] = {}
        for event in reactions:
            if event.event_id not in self.gone and event.content:
                self._reactions.setdefault(str(event.reacts_to), []).append(event)

    def reactions(self, event_id: str, server_name: str) -> tuple[Reaction, ...]:
        """Return the reactions to a message, one for each emoji."""
        events = self._reactions.get(event_id, [])
        counts = Counter(str(event.relation.get("key", "")) for event in events)
        return tuple(
            Reaction(key, count, tuple(_senders(events, key, server_name))) for key, count in counts.items() if key
        )

    def text(self, event: SeenEvent) -> str:
        """Return the text of a message after its edits."""
        edit = self.edits.get(event.event_id)
        new = edit.content.get("m.new_content") if edit else None
        return text_of(new) if isinstance(new, Mapping) else text_of(event.content)


def _senders(events: Iterable[SeenEvent], key: str, server_name: str) -> Iterator[str]:
    return (short_name(event.sender, server_name) for event in events if event.relation.get("key") == key)


def _message(event: SeenEvent, related: _Related, seen: Seen, server_name: str) -> Shown | None:
    is_message = event.type in ("m.room.message", "m.room.encrypted", "m.sticker")
    if not is_message or (event.replaces and event.replaces in related.by_id):
        return None
    redacted = event.event_id in related.gone or not event.content
    kind, says = _said(event, related.text(event))
    encryption = "could not be decrypted" if event.is_unreadable else "encrypted" if event.encrypted else ""
    if redacted:
        kind, says, encryption = "message", "removed", ""
    elif event.in_encrypted_room and not event.encrypted and not event.is_unreadable:
        encryption = "not encrypted"
    return Shown(
        event,
        short_name(event.sender, server_name),
        says,
        _time_of_day(event),
        kind,
        own=event.sender == seen.user_id,
        edited=event.event_id in related.edits and not redacted,
        redacted=redacted,
        encryption=encryption,
        quote=_quote(event, related, server_name),
        reactions=() if redacted else related.reactions(event.event_id, server_name),
    )


def _said(event: SeenEvent, text: str) -> tuple[str, str]:
    if event.is_unreadable:
        return "message", "a message that could not be decrypted"
    kind = str(event.content.get("msgtype", ""))
    if kind in MEDIA or event.type == "m.sticker":
        return "file", f"{kind.removeprefix('m.') or 'sticker'}: {text}"
    return {"m.notice": "notice", "m.emote": "emote"}.get(kind, "message"), text


def _quote(event: SeenEvent, related: _Related, server_name: str) -> Quote | None:
    if event.replies_to is None or event.relation.get("is_falling_back"):
        return None
    about = related.by_id.get(event.replies_to)
    if about is None:
        return Quote("", "an earlier message")
    gone = about.event_id in related.gone
    return Quote(short_name(about.sender, server_name), "removed" if gone else _first_line(related.text(about)))


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= 80 else f"{line[:80]}…"


# -- changes of the room


def _changes(events: Iterable[SeenEvent], server_name: str) -> dict[str, str]:
    """Return what each membership event means, by its id: that depends on the membership before."""
    before: dict[str, str] = {}
    means = {}
    for event in events:
        if event.type == "m.room.member" and event.state_key:
            now = str(event.content.get("membership"))
            whom = short_name(event.state_key, server_name)
            means[event.event_id] = _moved(before.get(event.state_key), now, whom, event)
            before[event.state_key] = now
    return means


def _moved(before: str | None, now: str, whom: str, event: SeenEvent) -> str:
    own = event.sender == event.state_key
    if now == "join":
        return "changed their profile" if before == "join" else "joined"
    if now == "invite":
        return f"invited {whom}"
    if now == "ban":
        return f"banned {whom}"
    if now == "knock":
        return "asks to be let in"
    if own:
        return "declined the invite" if before == "invite" else "left"
    return f"{'took back the invite of' if before == 'invite' else 'unbanned' if before == 'ban' else 'kicked'} {whom}"


def _change(event: SeenEvent, moves: Mapping[str, str], server_name: str) -> Shown | None:
    if event.state_key is None:
        return None
    says = moves.get(event.event_id) or _state(event)
    if not says:
        return None
    return Shown(event, short_name(event.sender, server_name), says, _time_of_day(event), "change")


def _state(event: SeenEvent) -> str:
    content = event.content
    if event.type in UNSAID:
        return ""
    if event.type == "m.room.create":
        return f"made this {'Space' if content.get('type') == 'm.space' else 'room'}"
    if event.type == "m.room.name":
        return f"named it “{content.get('name', '')}”"
    if event.type == "m.room.topic":
        return f"set the topic “{_first_line(str(content.get('topic', '')))}”"
    if event.type == "m.room.encryption":
        return "switched encryption on"
    if event.type == "m.room.tombstone":
        return f"upgraded it to another room: {content.get('replacement_room', '')}"
    if event.type == "m.space.child":
        return f"{'listed' if content.get('via') else 'removed from the list'}: {event.state_key}"
    return f"set {event.type}"


def _time_of_day(event: SeenEvent) -> str:
    return time.strftime("%H:%M:%S", time.localtime(event.at))
