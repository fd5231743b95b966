"""Draw lines as an SVG picture. Both axes are logarithmic, so that a constant ratio is a constant distance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 180, 50, 60  # margins; the names of the lines stand in the right one
LABEL_GAP = 16  # at least this far apart
STYLE = """
    .page { fill: #ffffff } .grid { stroke: #d8dee4 } text { fill: #1f2328; font: 13px sans-serif }
    .title { font-size: 15px; font-weight: bold } .value { font-size: 11px }
    .line0 { stroke: #0a7a50; fill: #0a7a50 } .line1 { stroke: #b3432b; fill: #b3432b }
    .line2 { stroke: #2f5fb3; fill: #2f5fb3 }
    polyline { fill: none !important; stroke-width: 2 } text { stroke: none }
    @media (prefers-color-scheme: dark) {
        .page { fill: #0d1117 } .grid { stroke: #30363d } text { fill: #e6edf3 }
        .line0 { stroke: #3fb98a; fill: #3fb98a } .line1 { stroke: #f0836b; fill: #f0836b }
        .line2 { stroke: #7ea6f0; fill: #7ea6f0 }
    }
"""


@dataclass(frozen=True)
class Point:
    """A median over `x`, with its spread."""

    x: float
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Axis:
    """A logarithmic scale from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is, in pixels."""
        part = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return round(self.start + part * (self.end - self.start), 1)

    def steps(self) -> list[float]:
        """Return 1, 2, 5, 10, … from `low` to `high`."""
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        steps = [factor * 10**power for power in powers for factor in (1, 2, 5)]
        return [step for step in steps if self.low * 0.999 <= step <= self.high * 1.001]


def drawn(title: str, x_name: str, y_name: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Return the picture. Each line has at least one point, and `lines` at least two values of x."""
    points = [point for line in lines.values() for point in line]
    places = sorted({point.x for point in points})
    x_axis = Axis(places[0], places[-1], LEFT + 20, WIDTH - RIGHT - 20)
    y_axis = Axis(_step_below(points), _step_above(points), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 26, title, "title"),
        *_grid(x_axis, y_axis, places),
        _text(LEFT + 20, HEIGHT - 16, x_name),
        _text(12, TOP - 8, y_name),
    ]
    for number, line in enumerate(lines.values()):
        parts += _line(number, [(x_axis(p.x), p) for p in line], y_axis)
    parts += _names({name: y_axis(line[-1].median) for name, line in lines.items()})
    return "\n".join([*parts, "</svg>", ""])


def _step_below(points: Sequence[Point]) -> float:
    lowest = min(point.low for point in points)
    return max(step for step in _all_steps() if step <= lowest)


def _step_above(points: Sequence[Point]) -> float:
    highest = max(point.high for point in points)
    return min(step for step in _all_steps() if step > highest)


def _all_steps() -> list[float]:
    return [factor * 10.0**power for power in range(-4, 6) for factor in (1, 2, 5)]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _grid(x_axis: Axis, y_axis: Axis, places: Sequence[float]) -> Iterator[str]:
    for step in y_axis.steps():
        y = y_axis(step)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield _text(LEFT - 8, y + 4, f"{step:g}", anchor="end")
    for place in places:
        yield _text(x_axis(place), HEIGHT - BOTTOM + 20, f"{place:g}", anchor="middle")


def _line(number: int, points: Sequence[tuple[float, Point]], y_axis: Axis) -> Iterator[str]:
    """Yield a line with its points, their spread and their values."""
    kind = f"line{number}"
    yield f'<polyline class="{kind}" points="{" ".join(f"{x},{y_axis(p.median)}" for x, p in points)}"/>'
    for x, point in points:
        y = y_axis(point.median)
        yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="{y_axis(point.low)}" y2="{y_axis(point.high)}"/>'
        yield f'<circle class="{kind}" cx="{x}" cy="{y}" r="4"/>'
        yield _text(x, y - 9, f"{point.median:.2g}", "value", "middle")


def _names(ends: Mapping[str, float]) -> Iterator[str]:
    """Yield the name of each line beside its end, one below the other where ends are close."""
    lowest = 0.0
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        lowest = max(end, lowest + LABEL_GAP)
        yield _text(WIDTH - RIGHT + 4, lowest + 4, name)
