"""Checks on what a person has seen. They are pure; wait for them with `must.see` or `Person.until`.

A check that holds returns something useful (an event, a room id). Otherwise it returns NotYet with what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from greenroom.people.answers import Answer, Kind, answers, described
from greenroom.people.seen import Seen, SeenCheck, SeenEvent, all_of, any_of
from greenroom.waiting import NotYet

__all__ = [
    "NotYet",
    "Seen",
    "SeenCheck",
    "SeenEvent",
    "all_of",
    "answer",
    "any_of",
    "child",
    "edit_of",
    "invited",
    "joined",
    "membership",
    "message",
    "messages",
    "named",
    "reaction",
    "redaction",
    "reply_to",
    "state",
    "upgraded",
]


def message(
    text: str | None = None,
    *,
    sender: str | None = None,
    room: str | None = None,
    after: str | None = None,
    containing: str | None = None,
) -> SeenCheck[SeenEvent]:
    """Return the check for a message: with exactly `text`, or `containing` a text, sent after the event id `after`."""

    def test(seen: Seen) -> SeenEvent | NotYet:
        others = []
        for event in seen.messages(room, after=after):
            body = event.body or ""
            if _fits(body, text, containing) and sender in (None, event.sender):
                return event
            others.append(f"{event.sender}: {body[:60]!r}")
        return NotYet(f"messages there: {'; '.join(others[-4:])}" if others else "no message there")

    return SeenCheck(_to_say(text, containing, sender, room), test)


def answer(
    text: str | None = None,
    *,
    sender: str,
    room: str | None = None,
    after: str | None = None,
    containing: str | None = None,
) -> SeenCheck[Answer]:
    """Return the check for an answer in any of the ways of `Kind`: a message with its edits, or a reaction.

    `text` and `containing` are compared with what a reader sees now: the text after the last edit, the emoji of a
    reaction. Without both, any answer counts, and a message is returned rather than a reaction.
    """

    def test(seen: Seen) -> Answer | NotYet:
        found = answers(seen.timeline, sender=sender, after=after)
        fitting = [one for one in found if room in (None, one.room_id) and _fits(one.text, text, containing)]
        if fitting:
            return next((one for one in fitting if one.kind is not Kind.REACTION), fitting[0])
        others = [*described(found, room), *_not_answers(seen, found, sender, room, after)]
        return NotYet(f"messages there: {'; '.join(others[-4:])}" if others else "no message there")

    return SeenCheck(_to_say(text, containing, sender, room), test)


def _fits(body: str, text: str | None, containing: str | None) -> bool:
    return (text is None or body == text) and (containing is None or containing in body)


def _to_say(text: str | None, containing: str | None, sender: str | None, room: str | None) -> str:
    wanted = repr(text) if text is not None else f"something with {containing!r}" if containing else "anything"
    return f"{sender or 'somebody'} to say {wanted}{f' in {room}' if room else ''}"


def _not_answers(seen: Seen, found: list[Answer], sender: str, room: str | None, after: str | None) -> Iterator[str]:
    """Yield what else a bot sent that may explain a missing answer."""
    known = {one.event_id for one in found}
    for event in seen.events(room, after=after):
        if event.sender == sender and event.is_unreadable:
            yield f"{sender}: an encrypted message that {seen.user_id} cannot read"
        elif event.sender == sender and event.replaces and event.replaces not in known:
            yield f"{sender}: an older message edited to {event.new_body!r}"


def invited(by: str | None = None, *, room: str | None = None, name: str | None = None) -> SeenCheck[str]:
    """Return the check for an open invite: from one user, to one room, to a room of a name. It returns the room id."""

    def test(seen: Seen) -> str | NotYet:
        for room_id, inviter in seen.invited.items():
            if by in (None, inviter) and room in (None, room_id) and name in (None, seen.invite_names.get(room_id)):
                return room_id
        names = f"; their rooms: {sorted(seen.invite_names.values())}" if name is not None else ""
        return NotYet(f"open invites: {seen.invited or 'none'}{names}")

    to = room or (f"a room named {name!r}" if name is not None else "")
    return SeenCheck(f"an invite{f' from {by}' if by else ''}{f' to {to}' if to else ''}", test)


def joined(user_id: str, room: str) -> SeenCheck[str]:
    """Return the check that a user is a member of a room. It returns the room id."""
    return membership(user_id, room, "join")


def membership(user_id: str, room: str, wanted: str) -> SeenCheck[str]:
    """Return the check for a user's membership: join, leave, ban, invite or knock. It returns the room id."""

    def test(seen: Seen) -> str | NotYet:
        now = seen.membership(room, user_id)
        return room if now == wanted else NotYet(f"membership of {user_id} is {now}")

    return SeenCheck(f"{user_id} to have membership {wanted} in {room}", test)


def named(room: str, name: str) -> SeenCheck[str]:
    """Return the check that a room has that name. It returns the room id."""

    def test(seen: Seen) -> str | NotYet:
        now = (seen.state_content(room, "m.room.name") or {}).get("name")
        return room if now == name else NotYet(f"its name is {now!r}")

    return SeenCheck(f"{room} to be named {name!r}", test)


def state(
    kind: str, matches: Callable[[Mapping[str, Any]], bool], *, room: str | None = None, state_key: str = ""
) -> SeenCheck[str]:
    """Return the check for a state event whose content `matches`, in `room` or any room. It returns the room id."""

    def test(seen: Seen) -> str | NotYet:
        contents = []
        for room_id in [room] if room else sorted(seen.joined | seen.left):
            content = seen.state_content(room_id, kind, state_key)
            if content is not None and matches(content):
                return room_id
            contents.append(f"{room_id}: {content}")
        return NotYet("; ".join(contents[-4:]) or "no room seen")

    return SeenCheck(f"state {kind}{f' in {room}' if room else ''} as wanted", test)


def messages(
    *texts: str, sender: str, room: str, after: str | None = None, msgtype: str | None = None
) -> SeenCheck[list[SeenEvent]]:
    """Return the check that a user has sent exactly these texts in a room, in this order. Edits do not count.

    More texts can still come. To prove that none comes, use `never.see`.
    """

    def test(seen: Seen) -> list[SeenEvent] | NotYet:
        said = [
            event
            for event in seen.messages(room, after=after)
            if event.sender == sender and event.replaces is None and msgtype in (None, event.content.get("msgtype"))
        ]
        bodies = [event.body for event in said]
        return said if bodies == list(texts) else NotYet(f"{sender} said {bodies or 'nothing'}")

    return SeenCheck(f"{sender} to have said exactly {list(texts)} in {room}", test)


def reply_to(event_id: str, *, sender: str | None = None, text: str | None = None) -> SeenCheck[SeenEvent]:
    """Return the check for a message that replies to that event (`m.in_reply_to`)."""
    what = f"{sender or 'somebody'} to reply to {event_id}{f' with {text!r}' if text is not None else ''}"
    return _event(
        what,
        lambda e: e.type == "m.room.message" and e.replies_to == event_id,
        sender,
        lambda e: text in (None, e.body),
    )


def edit_of(event_id: str, *, sender: str | None = None, text: str | None = None) -> SeenCheck[SeenEvent]:
    """Return the check for an edit of that message (`m.replace`), with the new text `text` or any."""
    what = f"{sender or 'somebody'} to edit {event_id}{f' to {text!r}' if text is not None else ''}"
    return _event(what, lambda e: e.replaces == event_id, sender, lambda e: text in (None, e.new_body))


def reaction(to: str, key: str | None = None, *, sender: str | None = None) -> SeenCheck[SeenEvent]:
    """Return the check for a reaction to that event, with the emoji `key` or any."""
    what = f"{sender or 'somebody'} to react{f' with {key}' if key else ''} to {to}"
    return _event(what, lambda e: e.reacts_to == to, sender, lambda e: key in (None, e.relation.get("key")))


def redaction(of: str, *, sender: str | None = None) -> SeenCheck[SeenEvent]:
    """Return the check that somebody redacted that event."""
    return _event(f"{sender or 'somebody'} to redact {of}", lambda e: e.redacts == of, sender)


def _event(
    what: str,
    related: Callable[[SeenEvent], bool],
    sender: str | None,
    fits: Callable[[SeenEvent], bool] = lambda event: True,
) -> SeenCheck[SeenEvent]:
    def test(seen: Seen) -> SeenEvent | NotYet:
        others = []
        for event in seen.timeline:
            if related(event):
                if fits(event) and sender in (None, event.sender):
                    return event
                others.append(f"{event.sender}: {event.new_body or event.body or event.relation.get('key')!r}")
        return NotYet(f"only {'; '.join(others[-4:])}" if others else "nothing of that kind there")

    return SeenCheck(what, test)


def upgraded(room: str) -> SeenCheck[str]:
    """Return the check that a room has a tombstone. It returns the id of the replacement room."""

    def test(seen: Seen) -> str | NotYet:
        content = seen.state_content(room, "m.room.tombstone")
        return NotYet("it has no tombstone") if content is None else str(content.get("replacement_room", ""))

    return SeenCheck(f"{room} to be upgraded", test)


def child(space: str, room: str, *, listed: bool = True) -> SeenCheck[str]:
    """Return the check that a Space lists a room; with `listed=False`, that it does not. It returns the room id."""

    def test(seen: Seen) -> str | NotYet:
        content = seen.state_content(space, "m.space.child", room)
        there = bool(content and content.get("via"))  # an entry without `via` is a removed one
        return room if there == listed else NotYet(f"its entry there is {content}")

    return SeenCheck(f"Space {space} {'to list' if listed else 'not to list'} {room}", test)
