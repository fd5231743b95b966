"""Follow log files that grow and source files that change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path

POLL_S = 0.1
WATCH_POLL_S = 0.5
NOT_SOURCE = {"node_modules", "__pycache__", "build", "dist"}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Synapse: `2026-01-02 03:04:05,678 WARNING logger request text`. Conduit (tracing-subscriber's default, with colours):
# `2026-01-02T03:04:05.678901Z  WARN target: text`.
ENTRY = re.compile(r"(?P<when>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S*)\s+(?P<level>[A-Z]+)\s+(?P<rest>.*)")
TROUBLE = {"WARN", "WARNING", "ERROR", "CRITICAL"}
# What ends a server that can no longer log: Python's and Rust's last words have no level.
LAST_WORDS = re.compile(r"Traceback \(most recent call last\)|Fatal Python error|thread '.*' panicked at")
# Said at WARNING at every start, so that it is in every log.
HARMLESS = ("synapse.config.logger ",)


class LogTail:
    """The part of a growing file that has not been read yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = b""

    def skip(self) -> None:
        """Skip everything that is in the file now."""
        if self._path.exists():
            self._position = self._path.stat().st_size

    def new_lines(self) -> list[str]:
        """Return the complete lines since the last call. Start again at the beginning of a file that became shorter."""
        try:
            with self._path.open("rb") as log:
                if log.seek(0, 2) < self._position:
                    self._position, self._rest = 0, b""
                log.seek(self._position)
                chunk = log.read()
        except FileNotFoundError:
            return []
        self._position += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


class HomeserverLines:
    """Of a homeserver's log what a person should see: warnings and errors, or with `everything` each line as it is.

    `utc`: its times without a zone are UTC, as in a container; otherwise local. They are shown in `zone`, or local.
    """

    def __init__(self, *, everything: bool = False, utc: bool = False, zone: tzinfo | None = None) -> None:
        self._everything, self._utc, self._zone = everything, utc, zone
        self._in_trouble = False

    def shown(self, line: str) -> list[str]:
        """Return the next line of the log in its short form; nothing if it is neither trouble nor part of its entry.

        The lines of a traceback are part of the entry before them.
        """
        if self._everything:
            return [line]
        plain = COLOURS.sub("", line).rstrip()
        if entry := ENTRY.match(plain):
            self._in_trouble = entry["level"] in TROUBLE and not entry["rest"].startswith(HARMLESS)
            when = clock(entry["when"], utc=self._utc, zone=self._zone)
            plain = f"{when} {entry['level'].lower()} {entry['rest']}"
        elif LAST_WORDS.match(plain):
            self._in_trouble = True
        return [plain] if self._in_trouble else []


def clock(timestamp: str, *, utc: bool = False, zone: tzinfo | None = None) -> str:
    """Return hour, minute and second of an ISO timestamp, in `zone` or local; a text that is none as it is."""
    try:
        when = datetime.fromisoformat(timestamp)
        if utc and when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return when.astimezone(zone).strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        return timestamp


async def follow(tail: LogTail, on_line: Callable[[str], None]) -> None:
    """Call `on_line` with each new line of a file until cancelled, and then with the lines that are left."""
    try:
        while True:
            for line in tail.new_lines():
                on_line(line)
            await asyncio.sleep(POLL_S)
    finally:
        for line in tail.new_lines():
            on_line(line)


class Sources:
    """The Python files below a folder with the times of their last change.

    They are read when the object is made. Make it before the program starts, so that a file saved during the start
    counts as changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.skip()

    def skip(self) -> None:
        """Skip every change until now."""
        self._times = dict(_walk(self.folder))

    async def changed(self) -> Path:
        """Wait until a file is changed, added or removed, and return its path."""
        while True:
            before, self._times = self._times, dict(_walk(self.folder))
            for path in sorted(before.keys() | self._times.keys()):
                if before.get(path) != self._times.get(path):
                    return path
            await asyncio.sleep(WATCH_POLL_S)


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in NOT_SOURCE or entry.is_symlink():
            continue
        if entry.is_dir():
            if not (entry / "pyvenv.cfg").exists():
                yield from _walk(entry)
        elif entry.suffix == ".py":
            try:
                yield entry, entry.stat().st_mtime_ns
            except OSError:  # removed since it was listed
                continue
