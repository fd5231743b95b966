"""What one scenario left behind: everything that its verdict may rest on, as data that a bundle can keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from greenroom.errors import Cause
from greenroom.evidence.cause import find_causes
from greenroom.faults import Entry
from greenroom.people.answers import Answer, answers
from greenroom.people.seen import SeenEvent
from greenroom.scenarios.promises import BotPromises
from greenroom.scenarios.trigger import Pulled

FILE = "observed.json"
VERSION = 1


class Why(StrEnum):
    """Why a question was asked."""

    FIRST = "first"  # before the disturbance: does the bot answer at all?
    SUBJECT = "subject"  # the disturbance hit it
    QUIET = "quiet"  # must not be answered
    AFTER = "after"  # after the disturbance: is the bot through with what came before?


@dataclass(frozen=True)
class Question:
    """A question that the owner asked in a room, and the text that its answer contains. `at`: seconds, epoch.

    A trigger is a question without an event: `event_id` is empty, and `after` is the latest event before it.
    """

    why: Why
    room: str
    event_id: str
    text: str
    answer: str
    at: float
    by: str = ""  # who is to answer, if not the bot itself
    after: str | None = None
    pulled: Pulled | None = None

    @property
    def answered(self) -> str:
        """The verb for what was done to it: a trigger has no answer, it is said."""
        return "said" if self.pulled else "answered"

    def begins(self, ids: Sequence[str]) -> int:
        """Return the position of the first of these events that can be an answer; their number if it is not known."""
        last = self.event_id or self.after
        return ids.index(last) + 1 if last in ids else len(ids)


class Trouble(StrEnum):
    """What ended the acting early."""

    DIED = "died"  # the bot ended on its own
    NOT_READY = "not ready"  # the bot runs, and does not listen
    NEVER_ANSWERED = "never answered"  # its first question
    OURS = "ours"  # homeserver, machine or harness
    WAITED = "waited"  # a step of the scenario never came: no request that a fault could hit


@dataclass
class Observed:
    """The whole record of a scenario that has been acted: what was done, and what everybody saw."""

    scenario: str
    promises: BotPromises
    bot: str = ""
    questions: list[Question] = field(default_factory=list)
    events: list[SeenEvent] = field(default_factory=list)  # of the owner's timeline
    requests: list[Entry] = field(default_factory=list)  # the bot's own
    facts: dict[str, Any] = field(default_factory=dict)  # what a scenario measured, by name
    disturbed: bool = False  # the bot had answered its first question, and the scenario began
    trouble: Trouble | None = None
    problem: str = ""  # the trouble in words
    log: str = ""  # of the bot, since its latest start
    own: list[str] = field(default_factory=list)  # folders with the bot's own code
    holders: dict[str, str] = field(default_factory=dict)  # who listens on a port that the log says is taken
    ended: float = 0.0

    def asked(self, *why: Why) -> Iterator[Question]:
        """Yield the questions that were asked for one of these reasons."""
        return (question for question in self.questions if question.why in why)

    def answers_to(self, question: Question) -> list[Answer]:
        """Return the bot's answers to a question: those that say so, else those that contain its answer."""
        room = question.room if self.promises.answers == "here" else None
        after = answers(
            self.events, sender=question.by or self.bot, room=room, after=question.event_id or question.after
        )
        fitting = [answer for answer in after if question.answer in answer.text]
        return [answer for answer in fitting if answer.about in (None, question.event_id)]

    def brought_at(self, question: Question) -> float | None:
        """Return when a question came to the bot, in seconds since the epoch; None if nobody saw that.

        A sync brings it. A trigger came when the bot accepted it.
        """
        if question.pulled:
            return question.pulled.at if question.pulled.accepted else None
        came = (r.ended for r in self.requests if question.event_id in r.brought)
        return min(came, default=None)

    def causes(self, question: Question | None = None) -> list[Cause]:
        """Return why the bot has not answered a question, or has not come to its first one; the best cause first."""
        found = find_causes(
            self.requests,
            self.log,
            user_id=self.bot,
            since=question.at if question else 0.0,
            asked=question.event_id or None if question else None,
            later=[q.event_id for q in self.questions if question and q.event_id and q.at > question.at],
            room=question.room if question and self.promises.answers == "here" else None,
            own=[Path(folder) for folder in self.own],
            now=self.ended or None,
            holders={int(port): who for port, who in self.holders.items()},
        )
        if question is None or question.pulled is None:
            return found
        fate = Cause("trigger", f"the trigger, {question.text}: {question.pulled.outcome}")
        return [*(cause for cause in found if cause.kind not in ABOUT_SYNCS), fate]

    def collision(self) -> Cause | None:
        """Return the cause if another program holds what the bot needs: a port, or a lock that its own copy has."""
        kinds = ("port", "lock") if self.facts.get("copies", 1) > 1 else ("port",)
        return next((cause for cause in self.causes() if cause.kind in kinds), None)

    def to_json(self) -> str:
        """Return the whole record as JSON."""
        told = {name: value for name, value in vars(self).items() if name != "promises"}
        told["promises"] = self.promises.model_dump(
            mode="json", include={**dict.fromkeys(JUDGED, True), "appservice": {"ghost"}}
        )
        if self.promises.trigger:
            told["promises"]["trigger"] = self.promises.trigger.bare().model_dump(mode="json", exclude_defaults=True)
        return json.dumps({"version": VERSION, **told}, default=asdict, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.pop("version", None) != VERSION:
            raise ValueError(f"not a record of version {VERSION}")
        return cls(
            **{
                **data,
                "promises": BotPromises.model_validate({"command": "-", **data["promises"]}),
                "questions": [_question(q) for q in data["questions"]],
                "events": [SeenEvent(**event) for event in data["events"]],
                "requests": [Entry(**_tuples(entry)) for entry in data["requests"]],
                "trouble": Trouble(data["trouble"]) if data["trouble"] else None,
            }
        )


# What of the promises a verdict rests on. The rest (command, environment, configuration) may hold secrets.
JUDGED = {"kind", "name", "ask", "answer", "answers", "chat", "encrypted", "invites", "patience_s", "promises"}


# What a bot is told by a trigger, no sync brings.
ABOUT_SYNCS = {"no sync", "not received", "blocked", "chose silence", "left out", "not joined"}


def _question(data: Mapping[str, Any]) -> Question:
    pulled = Pulled(**data["pulled"]) if data.get("pulled") else None
    return Question(**{**data, "why": Why(data["why"]), "pulled": pulled})


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def bots_messages(observed: Observed, rooms: Iterable[str]) -> list[Answer]:
    """Return everything that the bot has said in these rooms, each message with its edits once."""
    wanted = set(rooms)
    return [answer for answer in answers(observed.events, sender=observed.bot) if answer.room_id in wanted]
