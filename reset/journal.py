"""What an interrupted server reset had planned and finished, so that the next run can account for every room once.

The journal decides nothing: which rooms are still to do is the homeserver's word. It is one append-only file beside
the database, one JSON object a line, survives SIGKILL at any byte, and goes when a run has verified its work.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bot.ids import RoomId, UserId
from reset.errors import Refused
from reset.plan import RoomStep, ServerPlan

_MARK = "greenroom_reset"
VERSION = 1


class Journal:
    """The progress of one run. ``unfinished`` and ``finished`` are what interrupted runs on this account left."""

    def __init__(self, path: Path, homeserver: str, user_id: UserId) -> None:
        """Read the file if there is one, without changing it. Raises Refused when it is something else."""
        self.path = path
        self.note = ""
        self._whose = [homeserver, user_id]
        self._fd: int | None = None
        planned: dict[RoomId, RoomStep] = {}
        done: set[RoomId] = set()
        for entry in _entries(path):
            if entry.get(_MARK) == VERSION and entry["whose"] != self._whose:
                self.note = f"{path} is of a run on {' as '.join(entry['whose'])}; it does not count here"
                planned, done = {}, set()
            elif entry.get(_MARK) == VERSION:
                self.note = ""
                planned |= {step.room_id: step for step in map(_step, entry["rooms"])}
            else:
                done.add(RoomId(entry["done"]))
        self.finished = {room_id: step for room_id, step in planned.items() if room_id in done}
        self.unfinished = {room_id: step for room_id, step in planned.items() if room_id not in done}

    @contextmanager
    def opened(self, plan: ServerPlan) -> Iterator[None]:
        """Record the plan, then take notes of what is done. Raises Refused while another reset writes here.

        Where the database's directory does not exist there is nothing to put the journal beside, and none is kept.
        """
        if not (plan.rooms and self.path.parent.is_dir()):
            yield
            return
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(f"another reset is at work on {self.path}") from None
            self._append({_MARK: VERSION, "whose": self._whose, "rooms": [asdict(step) for step in plan.rooms]})
            yield
        finally:
            os.close(self._fd)
            self._fd = None

    def done(self, room_id: RoomId) -> None:
        """Note that the homeserver acknowledged everything asked of it for this room."""
        self._append({"done": room_id})

    def drop(self) -> None:
        """Take the journal away, once the run's result has been verified."""
        with suppress(FileNotFoundError):
            self.path.unlink()

    def _append(self, entry: dict[str, Any]) -> None:
        if self._fd is not None:  # a line break first: the last line of a killed run may be half a line
            os.write(self._fd, b"\n" + json.dumps(entry).encode() + b"\n")


def _entries(path: Path) -> Iterable[dict[str, Any]]:
    try:
        lines = [line for line in path.read_text(errors="replace").splitlines() if line]
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            if not (isinstance(entry, dict) and (entry.get(_MARK) == VERSION or isinstance(entry.get("done"), str))):
                raise Refused(f"{path} is not a reset journal of version {VERSION}; move it out of the way")
            yield entry
        except ValueError:
            if not lines[0].startswith('{"' + _MARK):
                raise Refused(f"{path} is not a reset journal; move it out of the way") from None


def _step(saved: dict[str, Any]) -> RoomStep:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()}
    return RoomStep(**values)
