"""Whether a bot says too much about one question: the same twice, or ever more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from greenroom.people.answers import Answer, Kind, answers
from greenroom.people.seen import SeenEvent

MANY = 10


@dataclass(frozen=True)
class TooMuch:
    """What a bot said too much: `what` completes "the bot …"; `said` is the evidence."""

    what: str
    said: tuple[Answer, ...]


def too_much(
    events: Sequence[SeenEvent], *, sender: str, question: str, shown: str, room: str, goes_on: bool
) -> TooMuch | None:
    """Return what the bot `sender` said too much since the event `question`, whose text is `shown`; or None.

    `goes_on`: its requests show that it is still talking, and answers itself. Two different messages are not too much,
    nor are many after which the bot rests. A message that could answer an earlier one of a person does not count.
    """
    said = [answer for answer in answers(events, sender=sender, after=question) if answer.kind is not Kind.REACTION]
    owed = _owed(events, sender, question, room)
    if goes_on and len(said) > MANY + owed:
        return TooMuch(f"goes on talking: {len(said)} messages since {shown!r}, the latest {said[-1]}", tuple(said))
    here = [answer for answer in said if answer.room_id == room and answer.kind is not Kind.MEDIA]  # alike by name only
    (text, times), *_ = Counter(answer.text for answer in here).most_common(1) or [("", 0)]
    same = [answer for answer in here if answer.text == text]
    certain = sum(answer.about == question for answer in same)
    if max(times - owed, certain - 1) > 0 and times > 1:
        often = "twice" if times == 2 else f"{times} times"
        return TooMuch(f"answered {shown!r} {often} with {same[0]}", tuple(same))
    return None


def _owed(events: Sequence[SeenEvent], sender: str, question: str, room: str) -> int:
    """Return how many messages of other people the bot may still have to answer, from the question on or earlier.

    It may have answered an earlier one late, so each message of others that no message of the bot followed counts.
    """
    owed, asked = 0, False
    for event in events:
        if event.type not in ("m.room.message", "m.room.encrypted") or event.room_id != room or event.replaces:
            continue
        asked = asked or event.event_id == question
        if event.sender != sender:
            owed += 1
        elif not asked:
            owed = max(0, owed - 1)
    return owed
