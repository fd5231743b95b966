"""The page of a scenarios run: what each bot did in each scenario, with a way to the picture of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import Misuse
from greenroom.evidence.report import page
from greenroom.scenarios.catalogue import CATALOGUE
from greenroom.scenarios.findings import Verdict
from greenroom.scenarios.judge import BAD, Result, judge_bundles
from greenroom.scenarios.promises import YES

ROOMS = "rooms-"  # how the folder of a run on one room version begins


@dataclass(frozen=True)
class Cell:
    """One bot in one scenario. `link` is relative to the page; "" without a picture."""

    verdict: str
    tone: str = "none"  # bad, good or none
    why: str = ""
    link: str = ""
    seconds: str = ""


def column_of(name: str, room_version: str) -> str:
    """Return the heading of a bot's column."""
    return f"{name}, rooms of version {room_version}" if room_version else name


def write_index(folder: Path, columns: Mapping[str, Sequence[Result]]) -> Path:
    """Write the page of the results, by column, and of what earlier runs have kept in `folder`. Return its path."""
    known = {name: {result.scenario: result for result in results} for name, results in columns.items()}
    for column, result in _kept(folder):
        if column not in columns:
            known.setdefault(column, {})[result.scenario] = result
    used = [name for name in CATALOGUE if any(name in results for results in known.values())]
    rows = [
        (name, CATALOGUE[name].summary, [_cell(results.get(name), folder) for results in known.values()])
        for name in used
    ]
    counts = [_counted(list(results.values())) for results in known.values()]
    index = folder / page.INDEX
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_text(page.render("scenarios", columns=list(zip(known, counts, strict=True)), rows=rows))
    return index


def _kept(folder: Path) -> Iterator[tuple[str, Result]]:
    """Yield what bundles below a folder say, the oldest first, with their columns."""
    try:
        results = judge_bundles(folder)
    except Misuse:  # there are none, or one of them is damaged
        return
    for result in sorted(results, key=_age):
        if result.bundle is not None and result.observed is not None:
            version = result.bundle.parent.name.removeprefix(ROOMS) if result.bundle.parent != folder else ""
            yield column_of(result.observed.promises.name, version), result


def _age(result: Result) -> float:
    return result.bundle.stat().st_mtime if result.bundle else 0.0


def _cell(result: Result | None, folder: Path) -> Cell:
    if result is None:
        return Cell("not run")
    picture = result.bundle / page.FILE if result.bundle else None
    link = os.path.relpath(picture, folder) if picture is not None and picture.is_file() else ""
    good = result.verdict in (Verdict.PASSED, Verdict.DOES)
    tone = "bad" if result.verdict in BAD else "good" if good else "none"
    way = f" ({result.way})" if result.verdict is Verdict.DOES and result.way != YES else ""
    return Cell(f"{result.verdict}{way}", tone, result.why, link, f"{result.seconds:.1f} s" if result.seconds else "")


def _counted(results: Sequence[Result]) -> str:
    """Return how often each verdict was reached, the bad ones first."""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in (*BAD, *Verdict)}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
