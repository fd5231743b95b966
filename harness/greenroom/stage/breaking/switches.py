"""The faults that can be switched on: one of each kind at a time, the same on every open page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greenroom.faults import FaultProxy, Rule
from greenroom.stage.script import FaultStep, Script

AIMS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "sends": {"method": "PUT", "path": "/send/"},
    "sync": {"path": "/sync"},
}


@dataclass(frozen=True)
class Fault:
    """A kind of fault: `kind` is the method of FaultProxy that puts it in force."""

    label: str
    kind: str
    says: str  # what happens to a request
    values: Mapping[str, Any] = field(default_factory=dict)
    in_seconds: bool = False  # whether a person chooses `seconds`


FAULTS = (
    Fault("429", "rate_limited", "answered 429 M_LIMIT_EXCEEDED"),
    Fault("HTML 502", "html", "answered by a broken reverse proxy"),
    Fault("drop answers", "drop_response", "done by the homeserver, answer lost"),
    Fault("cut", "cut", "connection ends, nothing is done"),
    Fault("dead token", "unknown_token", "answered 401 M_UNKNOWN_TOKEN"),
    Fault("delay", "delay", "forwarded later", in_seconds=True),
)


class Switches:
    """The switches and the rules behind them. What is switched is written down."""

    def __init__(self, proxy: FaultProxy, script: Script) -> None:
        self._proxy = proxy
        self._script = script
        self._rules: dict[str, Rule] = {}
        self._aims: dict[str, str] = {}
        self._hits: dict[str, int] = {}  # of the rules that were lifted

    @property
    def in_force(self) -> list[str]:
        """The labels of the faults that are on."""
        return [fault.label for fault in FAULTS if self.is_on(fault)]

    def is_on(self, fault: Fault) -> bool:
        """Return whether a fault is in force."""
        return fault.kind in self._rules

    def aim(self, fault: Fault) -> str:
        """Return what a fault that is on hits."""
        return self._aims.get(fault.kind, next(iter(AIMS)))

    def hits(self, fault: Fault) -> int:
        """Return how many requests a fault has hit so far."""
        rule = self._rules.get(fault.kind)
        return self._hits.get(fault.kind, 0) + (rule.hits if rule else 0)

    def put(self, fault: Fault, aim: str, seconds: float = 1.0) -> None:
        """Put a fault in force; one of its kind that is on ends first."""
        self.lift(fault)
        values = {**fault.values, **({"seconds": seconds} if fault.in_seconds else {}), **AIMS[aim]}
        self._rules[fault.kind] = getattr(self._proxy, fault.kind)(**values)
        self._aims[fault.kind] = aim
        self._script.add(FaultStep(fault.kind, fault.kind, values, on=True))

    def lift(self, fault: Fault) -> None:
        """End a fault, if it is on."""
        if (rule := self._rules.pop(fault.kind, None)) is None:
            return
        rule.end()
        self._hits[fault.kind] = self._hits.get(fault.kind, 0) + rule.hits
        self._script.add(FaultStep(fault.kind, fault.kind, on=False, hits=rule.hits))
