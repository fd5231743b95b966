"""The exceptions in a log, as Python prints them, each with the frames of the bot's own code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenroom.evidence.timeline import time_of

BEGINS = "Traceback (most recent call last):"
FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<where>.+))?$')
# An exception's last line: a dotted name, then nothing or a message.
EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?::\s(?P<said>.*)|:?)$")
GROUP = re.compile(r"^\s*(?:\+[-+ ]*(?:\d+ [-]+)?|\|)\s?")  # the frame that Python draws around an ExceptionGroup
LIBRARY = re.compile(r"(^|/)(site-packages|dist-packages|lib(64)?/(python|pypy)\d[^/]*)/|^<frozen ")
CHAIN = ("During handling of the above exception", "The above exception was the direct cause")
# What Python and asyncio print before a traceback that ends nothing.
ASIDE = re.compile(r"^Exception ignored in|Unhandled error in exception handler|exception was never retrieved")
ASIDE_LINES = 3  # the traceback begins within so many lines
SHOWN_FRAMES = 6


@dataclass(frozen=True)
class Frame:
    """One frame of a traceback, with its line of source if the log has it."""

    file: str
    line: int
    where: str
    source: str = ""


@dataclass(frozen=True)
class LoggedException:
    """An exception in a log: its last line and its frames, oldest first. `at`: the time of the log line before it."""

    name: str
    said: str
    frames: tuple[Frame, ...]
    at: float | None = None
    chained: bool = False  # it was raised while the one before it in the log was handled
    aside: bool = False  # the program says that it goes on, or is ending already

    @property
    def line(self) -> str:
        """The exception in one line."""
        return f"{self.name}: {self.said}" if self.said else self.name

    def own_frames(self, own: Sequence[Path] = ()) -> list[Frame]:
        """Return the frames in files that belong to no library. A file in a folder of `own` is the bot's."""
        return [frame for frame in self.frames if not _of_library(frame.file, own)]

    def shown(self, own: Sequence[Path] = ()) -> tuple[str, ...]:
        """Return its own frames as lines for a person, the last one with its source; else its last frame."""
        frames = self.own_frames(own)[-SHOWN_FRAMES:] or list(self.frames[-1:])
        lines = [f"{_short(frame.file, own)}:{frame.line}, in {frame.where}" for frame in frames]
        return (*lines, *([f"  {frames[-1].source}"] if frames and frames[-1].source else []))


def exceptions_in(log: str, own: Sequence[Path] = ()) -> list[LoggedException]:
    """Return the exceptions of a log, oldest first. Of chained ones, the last that has frames of its own."""
    found: list[LoggedException] = []
    for exception in _all(log):
        if exception.chained and found and (found[-1].own_frames(own) and not exception.own_frames(own)):
            continue
        if exception.chained and found:
            found.pop()
        found.append(exception)
    return found


def _all(log: str) -> Iterator[LoggedException]:
    lines = list(_flat(log))
    latest: float | None = None
    chained, aside, index = False, 0, 0
    while index < len(lines):
        line = lines[index]
        latest = time_of(line) or latest
        chained = chained or line.startswith(CHAIN)
        aside = ASIDE_LINES if ASIDE.search(line) else max(0, aside - 1)
        if not line.endswith(BEGINS):
            index += 1
            continue
        frames, index = _frames(lines, index + 1)
        last = EXCEPTION.match(lines[index]) if index < len(lines) else None
        if last:
            yield LoggedException(last["name"], last["said"] or "", tuple(frames), latest, chained, aside > 0)
        chained, aside = False, 0


def _frames(lines: Sequence[str], index: int) -> tuple[list[Frame], int]:
    """Read frames from `index` on. Return them with the index of the line after them."""
    frames: list[Frame] = []
    while index < len(lines) and (lines[index].startswith(" ") or not lines[index]):
        frame = FRAME.match(lines[index])
        if frame:
            frames.append(Frame(frame["file"], int(frame["line"]), frame["where"] or "<module>"))
        elif frames and not frames[-1].source and lines[index].strip(" ~^"):
            last = frames.pop()
            frames.append(Frame(last.file, last.line, last.where, lines[index].strip()))
        index += 1
    return frames, index


def _flat(log: str) -> Iterator[str]:
    """Yield a log's lines. The traceback inside a JSON line, and one inside an ExceptionGroup, become plain lines."""
    for line in log.splitlines():
        if line.startswith("{") and "Traceback (most recent" in line:
            yield from _from_json(line)
        elif line.lstrip().startswith(("|", "+")):
            yield GROUP.sub("", line)
        else:
            yield line


def _from_json(line: str) -> Iterator[str]:
    try:
        entry = json.loads(line)
    except ValueError:
        return
    yield json.dumps({key: value for key, value in entry.items() if not _is_traceback(value)})
    for value in entry.values():
        if _is_traceback(value):
            yield from value.splitlines()


def _is_traceback(value: object) -> bool:
    return isinstance(value, str) and "Traceback (most recent" in value


def _of_library(file: str, own: Sequence[Path]) -> bool:
    return bool(LIBRARY.search(_short(file, own)))


def _short(file: str, own: Sequence[Path]) -> str:
    """Return a file's path relative to the folder of `own` that it is in."""
    for folder in own:
        if file.startswith(f"{folder}/"):
            return file.removeprefix(f"{folder}/")
    return file
