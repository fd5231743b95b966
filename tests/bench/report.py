"""What a benchmark found: figures, targets, checks and gaps, as lines for a person and as a JSON document."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

VERSION = 1  # of the JSON document
MET, MISSED = "met", "MISSED"


@dataclass(frozen=True)
class Figure:
    """The values of one way, one for each counted round. `size`: how many servers or rooms there were."""

    name: str
    values: tuple[float, ...]
    unit: str = "s"
    size: int | None = None

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)


@dataclass(frozen=True)
class Target:
    """One ratio of two medians and its bound. `at_least` bounds how many times as fast ours is, `at_most` how slow."""

    what: str
    ratio: float
    at_most: float | None = None
    at_least: float | None = None

    @classmethod
    def of(
        cls, what: str, ours: Figure, beside: Figure, *, at_most: float | None = None, at_least: float | None = None
    ) -> Target:
        """Compare ours with what is beside it. Exactly one bound is given."""
        assert (at_most is None) != (at_least is None), "a target has one bound"
        ratio = ours.median / beside.median if at_least is None else beside.median / ours.median
        return cls(what, round(ratio, 4), at_most, at_least)

    @property
    def met(self) -> bool:
        """Whether the ratio is on the right side of its bound, which belongs to that side."""
        if self.at_most is not None:
            return self.ratio <= self.at_most
        return self.at_least is not None and self.ratio >= self.at_least

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at most {self.at_most:.2f}x" if self.at_most is not None else f"at least {self.at_least:.2f}x"


@dataclass(frozen=True)
class Check:
    """Something that is true or not, with what was seen."""

    what: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Gap:
    """Something that was not measured, and why."""

    what: str
    why: str


@dataclass
class Report:
    """All that one benchmark found. `sizes` says what the sizes of its figures count."""

    name: str
    about: str
    rounds: int = 0
    sizes: str = ""
    made: str = ""  # UTC
    machine: Mapping[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, name: str, values: Iterable[float], unit: str = "s", size: int | None = None) -> Figure:
        """Note and return a figure."""
        self.figures.append(Figure(name, tuple(round(value, 5) for value in values), unit, size))
        return self.figures[-1]

    def timed(self, found: Mapping[str, Sequence[float]], size: int | None = None) -> dict[str, Figure]:
        """Note and return what taking turns found, in seconds."""
        return {name: self.figure(name, values, size=size) for name, values in found.items()}

    def target(self, what: str, ours: Figure, beside: Figure, **bound: float) -> None:
        """Note a target: `at_most=` or `at_least=`."""
        self.targets.append(Target.of(what, ours, beside, **bound))

    def check(self, what: str, holds: bool, seen: str) -> None:
        """Note whether something is true."""
        self.checks.append(Check(what, holds, seen))

    def gap(self, what: str, why: str) -> None:
        """Note what could not be measured."""
        self.gaps.append(Gap(what, why))

    @property
    def exit_code(self) -> int:
        """0 all targets met, 1 one is missed or a check fails, 3 nothing could be judged."""
        if not self.targets and not self.checks:
            return 3
        return int(not all(target.met for target in self.targets) or not all(check.holds for check in self.checks))

    def figure_rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, median and spread of each figure."""
        for one in self.figures:
            name = one.name if one.size is None else f"{one.name}, {one.size} {self.sizes}"
            low, high = (_number(edge(one.values)) for edge in (min, max))
            yield name, f"{_number(one.median)} {one.unit}", f"{low} to {high}"

    def target_rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield name, ratio, bound and verdict of each target."""
        for target in self.targets:
            yield target.what, f"{target.ratio:.2f}x", target.bound, MET if target.met else MISSED

    def check_rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, verdict and reason of each check, and of what was not measured."""
        for check in self.checks:
            yield check.what, MET if check.holds else MISSED, check.seen
        for gap in self.gaps:
            yield gap.what, "not measured", gap.why

    def lines(self) -> list[str]:
        """Return everything as lines for a person."""
        head = f"{self.name}: medians of {self.rounds} rounds" if self.figures else f"{self.name}: nothing was measured"
        tables = [*_columns(self.figure_rows()), *_columns(self.target_rows()), *_columns(self.check_rows())]
        return [head, *(f"  {line}" for line in (*tables, *self.notes))]

    def document(self) -> str:
        """Return everything as JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def read(cls, text: str) -> Report:
        """Return the report in a JSON document of this version."""
        data = json.loads(text)
        if data.pop("version") != VERSION:
            raise ValueError(f"this is no document of version {VERSION}")
        kinds = {"figures": Figure, "targets": Target, "checks": Check, "gaps": Gap}
        lists = {name: [kind(**_tuples(entry)) for entry in data.pop(name)] for name, kind in kinds.items()}
        return cls(**data, **lists)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _number(value: float) -> str:
    """Return three digits of a value, and all digits before its point."""
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def this_machine() -> dict[str, str]:
    """Return what the figures depend on, and how busy the machine was before."""
    try:
        synapse = version("matrix-synapse")
    except PackageNotFoundError:
        synapse = "not installed"
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "memory": f"{_memory_gib():.0f} GiB",
        "Python": platform.python_version(),
        "Synapse": synapse,
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def now() -> str:
    """Return the time in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


def write(report: Report, path: Path) -> None:
    """Write the JSON document, and make its folder if it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(report.document())
