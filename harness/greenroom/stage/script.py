"""What was done on the stage, as data: the steps, in order. `written` turns them into a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

BotAction = Literal["start", "stop", "kill", "freeze", "thaw", "restart", "lose database", "lose key store"]
HomeserverAction = Literal["stop", "kill", "start", "restart"]


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


Step = BotStep | HomeserverStep | FaultStep


class Script:
    """The steps that were done, oldest first."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Write a step down."""
        self.steps.append(step)
