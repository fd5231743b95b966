"""Tables and plots of docs/performance.md, made from the results in docs/performance/ alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from docs.plot import Point, drawn
from docs.tables import table
from tests.bench.report import Report
from tests.bench.side_by_side import RESULTS

FOLDER = Path(__file__).parent / "performance"
ORDER = ("start", "warm", "seed", "restore", "reconcile", "reset", "memory", "dev")
# The benchmark whose figures are drawn -> the title of the plot.
PLOTS = {
    "warm": "Until all of several homeservers have answered",
    "restore": "A homeserver with seeded rooms, the first time and later",
}


def take_over() -> list[Path]:
    """Copy the last results of `invoke bench` in this checkout into the documents; return the new files."""
    FOLDER.mkdir(exist_ok=True)
    return [Path(shutil.copy(path, FOLDER)) for path in sorted(RESULTS.glob("*.json"))]


def reports() -> list[Report]:
    """Return the results that are there, in the order of the document."""
    paths = [FOLDER / f"{name}.json" for name in ORDER]
    return [Report.read(path.read_text()) for path in paths if path.exists()]


def plots() -> dict[Path, str]:
    """Return the plots by their files."""
    found = {report.name: report for report in reports()}
    return {
        FOLDER / f"{name}.svg": drawn(title, found[name].sizes, "seconds", lines)
        for name, title in PLOTS.items()
        if name in found and (lines := lines_of(found[name]))
    }


def lines_of(report: Report) -> dict[str, list[Point]]:
    """Return the figures that were measured with several sizes, each as a line."""
    lines: dict[str, list[Point]] = {}
    for one in report.figures:
        if one.size is not None and one.unit == "s":
            lines.setdefault(one.name, []).append(Point(one.size, min(one.values), one.median, max(one.values)))
    return {name: points for name, points in lines.items() if len(points) > 1}


def performance() -> str:
    """Return a section for each benchmark, with its tables and its plot."""
    drawings = plots()
    return "\n\n".join("\n\n".join(_section(report, FOLDER / f"{report.name}.svg" in drawings)) for report in reports())


def _section(report: Report, is_drawn: bool) -> Iterator[str]:
    yield f"## {report.name}"
    yield report.about.strip()
    if report.targets:
        yield table(("what", "ratio", "target", ""), report.target_rows())
    if report.checks or report.gaps:
        yield table(("what", "", "seen"), report.check_rows())
    yield table((f"{report.rounds} rounds", "median", "from lowest to highest"), report.figure_rows())
    yield from report.notes
    if is_drawn:
        yield f"![{PLOTS[report.name]}](performance/{report.name}.svg)"
    made_on = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    yield f"Measured on {report.made} UTC; {made_on}."
