"""A timeline shows what matters: polls and registrations are folded, a request stands there once, a repetition too."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from greenroom.evidence.timeline import WHEN, Moment, Request

# Requests by which people and the harness keep themselves going; they say nothing about a bot.
KEEPING = re.compile(r"/_synapse/admin/v\d/register$|/register$|/keys/(upload|query|claim)$|/versions$|/whoami$")
CLOCKS_DIFFER_S = 0.3  # between the proxy's clock and the homeserver's log
SHOWN_FROM = 3  # so many folded lines in a row leave a line; fewer leave none
REPEATS_FROM = 3
LONGEST_BLOCK = 12  # lines that repeat together
TAKING = re.compile(r"\b\d+(\.\d+)? ?m?s\b")
TRANSACTION = re.compile(r"(/send/[^/ ]+|/redact/[^/ ]+)/\S+")


def merge_requests(moments: Sequence[Moment]) -> list[Moment]:
    """Leave out the homeserver's line of each request that passed the proxy; the proxy's line says how long it took."""
    waiting: dict[tuple[str, str, int | None], list[int]] = {}
    for index, moment in enumerate(moments):
        if moment.request is not None and not moment.request.proxied:
            request = moment.request
            waiting.setdefault((request.method, request.path, request.status), []).append(index)
    gone: set[int] = set()
    merged: list[Moment] = []
    for moment in moments:
        twin = _twin(moment, moments, waiting, gone)
        if twin is not None:
            gone.add(twin)
            theirs = moments[twin].request
            took = f" (homeserver {theirs.took_s:.3f} s)" if theirs and theirs.took_s is not None else ""
            moment = replace(moment, text=moment.text + took)
        merged.append(moment)
    return [moment for index, moment in enumerate(merged) if index not in gone]


def _twin(
    moment: Moment, moments: Sequence[Moment], waiting: dict[tuple[str, str, int | None], list[int]], gone: set[int]
) -> int | None:
    """Return the index of the homeserver's line of a request of the proxy."""
    ours = moment.request
    if ours is None or not ours.proxied:
        return None
    ends = moment.at + (ours.took_s or 0.0)
    for index in waiting.get((ours.method, ours.path, ours.status), ()):
        theirs = moments[index]
        if index in gone or theirs.request is None or theirs.request.user not in ("", ours.user):
            continue
        if moment.at - CLOCKS_DIFFER_S <= theirs.at <= ends + CLOCKS_DIFFER_S:
            return index
    return None


@dataclass
class Folded:
    """A timeline without the dull lines. `left_out` counts them, in words."""

    moments: list[Moment] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """Return what was left out, in one line; "" for nothing."""
        return _told(self.left_out)


def fold(moments: Iterable[Moment]) -> Folded:
    """Leave out the polls that brought nothing and what keeps people going. Three or more in a row leave one line."""
    folded = Folded()
    row: list[tuple[Moment, str]] = []
    for moment in moments:
        dull = dullness(moment.request)
        if dull:
            row.append((moment, dull))
            continue
        folded.moments += _row(row)
        folded.moments.append(moment)
        folded.left_out.update(what for _, what in row)
        row = []
    folded.moments += _row(row)
    folded.left_out.update(what for _, what in row)
    return folded


def dullness(request: Request | None) -> str:
    """Return in words what kind of dull request it is; "" if it matters."""
    if request is None or request.failed or request.took_s is None or request.rule:
        return ""
    if request.path.endswith("/sync") and request.empty:
        who = request.user.partition(":")[0]
        return f"empty poll of {who}" if request.proxied else f"poll of {who}"
    if not request.proxied and KEEPING.search(request.path):
        return "registration" if request.path.endswith("/register") else "request for keys or versions"
    return ""


def _row(row: Sequence[tuple[Moment, str]]) -> list[Moment]:
    if len(row) < SHOWN_FROM:
        return []
    return [Moment(row[0][0].at, "…", _told(Counter(what for _, what in row)))]


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {_plural(what) if count > 1 else what}" for what, count in counts.items())


def _plural(what: str) -> str:
    first, of, rest = what.partition(" of ")
    first = first.replace("request ", "requests ", 1) if first.startswith("request ") else f"{first}s"
    return first + of + rest


def fold_repeats(moments: Sequence[Moment]) -> list[Moment]:
    """Show a block of lines that repeats three times or more once, and say how often."""
    keys = [_key(moment) for moment in moments]
    return list(_without_repeats(moments, keys))


def _without_repeats(moments: Sequence[Moment], keys: Sequence[object]) -> Iterator[Moment]:
    index = 0
    while index < len(moments):
        length, times = _block(keys, index)
        yield from moments[index : index + length]
        if times > 1:
            last = moments[index + length * times - 1]
            lines = "line" if length == 1 else f"{length} lines"
            yield Moment(last.at, "…", f"(the same {lines} {times} times)")
        index += length * times


def _block(keys: Sequence[object], index: int) -> tuple[int, int]:
    """Return the block that begins at `index`: how many lines it has, and how many times it stands there."""
    for length in range(1, LONGEST_BLOCK + 1):
        block, times = keys[index : index + length], 1
        while len(block) == length and keys[index + length * times : index + length * (times + 1)] == block:
            times += 1
        if times >= REPEATS_FROM:
            return length, times
    return 1, 1


def _key(moment: Moment) -> object:
    """Return what makes two lines equal: all but times and transaction ids. A request that succeeded equals none."""
    if moment.request is not None:
        if not moment.request.failed:
            return object()
        path = TRANSACTION.sub(r"\1", moment.request.path)
        return (moment.source, moment.request.method, path, moment.request.status, moment.request.rule, moment.more)
    return (moment.source, TAKING.sub("", WHEN.sub("", moment.text)))
