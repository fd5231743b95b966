"""What was done on the stage, as data: the steps, in order. `written` turns them into a test.

Rooms and events are named by their Matrix ids. Which of them a test can find again, and how, is decided by `written`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

BotAction = Literal["start", "stop", "kill", "freeze", "thaw", "restart", "lose database", "lose key store"]
HomeserverAction = Literal["stop", "kill", "start", "restart"]
PersonAction = Literal[
    "say", "reply", "edit", "react", "redact", "create direct", "create room",
    "join", "leave", "invite", "kick", "rename", "upgrade",
]  # fmt: skip


@dataclass(frozen=True)
class BotStep:
    """Something was done to the bot."""

    action: BotAction


@dataclass(frozen=True)
class HomeserverStep:
    """Something was done to the homeserver."""

    action: HomeserverAction


@dataclass(frozen=True)
class FaultStep:
    """A fault was put in force, or lifted. `kind` is a method of FaultProxy, `values` are its arguments."""

    name: str  # of the fault's variable in a test; the same for putting and lifting it
    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    on: bool = True
    hits: int = 0  # how often it had hit when it was lifted


@dataclass(frozen=True)
class LogInStep:
    """A person logged in. `new`: the account was made on the stage."""

    who: str  # a localpart, here and in the other steps
    new: bool = False


@dataclass(frozen=True)
class Quoted:
    """The event that a step is about, by id, and what finds it again: its room, sender and text."""

    event_id: str
    sender: str
    text: str


@dataclass(frozen=True)
class PersonStep:
    """A person did something. The homeserver has accepted it.

    `values` by action: say, reply, edit, rename `text`; react `key`; invite and kick `user`; create direct `user`,
    `encrypted`; create room `name`, `encrypted`, `invite`; join and leave `by` and `name` if they answer an invite.
    """

    who: str
    action: PersonAction
    room: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    about: Quoted | None = None  # of reply, edit, react and redact
    made: str = ""  # the id of the event or the room that this made


@dataclass(frozen=True)
class AnswerSeen:
    """The bot said something, and a person saw it. `question` is what it answers, as far as one can tell."""

    who: str
    room: str
    event_id: str
    text: str
    question: str = ""  # an event id
    asked: str = ""  # the text of the question


@dataclass(frozen=True)
class BotMoved:
    """The bot joined a room or left one, and a person saw it."""

    who: str
    room: str
    membership: Literal["join", "leave"]


Step = BotStep | HomeserverStep | FaultStep | LogInStep | PersonStep | AnswerSeen | BotMoved


@dataclass(frozen=True)
class Scene:
    """The dev environment in which the steps were done: what a test sets up before it repeats them."""

    blueprint: str = "qa"  # a name, or a path beside the test
    variables: Mapping[str, int] = field(default_factory=dict)  # values for the variables of the blueprint
    accounts: tuple[str, ...] = ("alice", "carol", "dave", "bot")  # the localparts that the blueprint names
    bot: str = "bot"  # the localpart of the bot
    command: str = ""  # of the bot; empty: the reference bot
    environment: Mapping[str, str] = field(default_factory=dict)  # the bot's own settings
    server_name: str = "greenroom.test"
    made_by: str = "greenroom dev --stage"


class Script:
    """The steps that were done, oldest first, and which rooms a blueprint has made (room id -> key).

    `scene` is asked when a test is written, since `seed` may apply another blueprint meanwhile.
    """

    def __init__(self, scene: Callable[[], Scene] = Scene) -> None:
        self.scene = scene
        self.steps: list[Step] = []
        self.seeded: dict[str, str] = {}
        self.encrypted: set[str] = set()  # ids of encrypted rooms
        self._under_way: Step | None = None

    def add(self, step: Step) -> None:
        """Write a step down. The end of a fault stands before the step that is under way, which may wait for it."""
        if self._under_way is not None and isinstance(step, FaultStep) and not step.on:
            self.steps.insert(self._latest(self._under_way), replace(step, hits=0))  # of what comes after it now
        else:
            self.steps.append(step)

    def begin(self, step: Step) -> None:
        """Write down a step that takes its time. People may see an answer before it is over."""
        self.add(step)
        self._under_way = step

    def end(self, *, failed: bool) -> None:
        """Note that the step under way is over. One that failed is not written down."""
        if failed and self._under_way is not None:
            del self.steps[self._latest(self._under_way)]
        self._under_way = None

    def _latest(self, step: Step) -> int:
        return max(index for index, known in enumerate(self.steps) if known is step)

    def hear(self, answer: AnswerSeen) -> None:
        """Write an answer down, or what it says now if it was edited: from then on it has its latest place."""
        before = next((step for step in self.answers() if step.event_id == answer.event_id), None)
        if before is not None and before.text == answer.text:
            return
        if before is not None:
            self.steps.remove(before)
        self.steps.append(answer)

    def answers(self) -> list[AnswerSeen]:
        """Return the answers that were seen."""
        return [step for step in self.steps if isinstance(step, AnswerSeen)]
