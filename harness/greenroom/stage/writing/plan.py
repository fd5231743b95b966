"""Which steps of a script become which lines: a question with its answer is one line, and so is a chat with the bot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenroom.stage.script import AnswerSeen, BotMoved, BotStep, FaultStep, HomeserverStep, PersonStep, Step


@dataclass(frozen=True)
class Asked:
    """A question in a quiet moment, and its only answer."""

    question: PersonStep
    answer: AnswerSeen


@dataclass(frozen=True)
class ChatMade:
    """A direct chat that the bot joined at once."""

    made: PersonStep


@dataclass
class Condition:
    """Whether everything runs, as far as the steps tell."""

    bot_runs: bool = True
    bot_frozen: bool = False
    server_runs: bool = True
    faults: frozenset[str] = frozenset()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing keeps the bot from an answer."""
        return self.bot_runs and not self.bot_frozen and self.server_runs and not self.faults

    def after(self, step: object) -> Condition:
        """Return the condition after a step."""
        runs, frozen, server, faults = self.bot_runs, self.bot_frozen, self.server_runs, self.faults
        if isinstance(step, BotStep):
            if step.action in ("freeze", "thaw"):
                frozen = step.action == "freeze" and runs
            elif not (step.action.startswith("lose") and not runs):  # one that is down stays so
                runs, frozen = step.action not in ("stop", "kill"), False
        elif isinstance(step, HomeserverStep):
            server = step.action in ("start", "restart")
        elif isinstance(step, FaultStep):
            faults = faults | {step.name} if step.on else faults - {step.name}
        return Condition(runs, frozen, server, faults)


Planned = Step | Asked | ChatMade


def planned(steps: Sequence[Step]) -> list[Planned]:
    """Return what to write, in order."""
    steps = _seen_in_time(steps)
    answers = Counter(step.question for step in steps if isinstance(step, AnswerSeen))
    plan: list[Planned] = []
    now = Condition()
    rest = list(steps)
    while rest:
        step, following = rest.pop(0), rest[0] if rest else None
        if _is_asked(step, following) and now.is_quiet and answers[following.question] == 1:  # type: ignore[union-attr]
            plan.append(Asked(step, rest.pop(0)))  # type: ignore[arg-type]
        elif _is_chat(step, following):
            rest.pop(0)
            plan.append(ChatMade(step))  # type: ignore[arg-type]
        else:
            plan.append(step)
        now = now.after(step)
    return plan


def _is_asked(step: Step, following: Step | None) -> bool:
    return (
        isinstance(step, PersonStep)
        and isinstance(following, AnswerSeen)
        and (step.action, step.made, step.room) == ("say", following.question, following.room)
    )


def _is_chat(step: Step, following: Step | None) -> bool:
    return (
        isinstance(step, PersonStep)
        and isinstance(following, BotMoved)
        and (step.action, step.made, "join") == ("create direct", following.room, following.membership)
    )


def _seen_in_time(steps: Iterable[Step]) -> list[Step]:
    """Return the steps, with what people saw while the homeserver was away in front of its end: they saw it late."""
    found: list[Step] = []
    ended_at = None
    for step in steps:
        if isinstance(step, HomeserverStep):
            ended_at = None if step.action in ("start", "restart") else len(found)
        if ended_at is not None and isinstance(step, AnswerSeen | BotMoved):
            found.insert(ended_at, step)
            ended_at += 1
        else:
            found.append(step)
    return found
