"""What an interrupted server reset had planned and finished, so that the next run can account for every room once.

The journal decides nothing: which rooms are still to do is the homeserver's word. It is one append-only file beside
the database, one JSON object a line, survives SIGKILL at any byte, and goes when a run has told its verified result.
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

from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_reset.errors import Refused
from greenroom_reset.plan import RoomStep, ServerPlan

_MARK = "greenroom_reset"
_HEAD = f'{{"{_MARK}"'
VERSION = 1


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other resets away from a directory for the length of a ``with``. Raises Refused if one is at work.

    Nothing is written, so a dry run can do it too. A directory that does not exist has nothing to share.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another reset is at work in {folder.absolute()}; wait for its end") from None
        yield
    finally:
        os.close(fd)


class Journal:
    """The progress of a run. ``unfinished`` and ``finished`` are what interrupted runs on this account left.

    Accounts that share a database's path share the file: each entry belongs to the header before it, and each account
    reads and settles only its own. Use it within :func:`only_one`. ``note`` says when it could not be written.
    """

    def __init__(self, path: Path, homeserver: str, user_id: UserId) -> None:
        """Read the file if there is one, without changing it. Raises Refused when it is something else."""
        self.path = path
        self.note = ""
        self._whose = [homeserver, user_id]
        self._others: list[dict[str, Any]] = []
        self._fd: int | None = None
        planned: dict[RoomId, RoomStep] = {}
        done: set[RoomId] = set()
        ours = False
        for entry in _entries(path):
            ours = entry["whose"] == self._whose if _MARK in entry else ours
            if not ours:
                self._others.append(entry)
            elif _MARK in entry:  # a plan: what it names is to be done again, whatever happened to it before
                steps = {step.room_id: step for step in map(_step, entry["rooms"])}
                planned |= steps
                done -= steps.keys()
            else:
                done.add(RoomId(entry["done"]))
        self.finished = {room_id: step for room_id, step in planned.items() if room_id in done}
        self.unfinished = {room_id: step for room_id, step in planned.items() if room_id not in done}

    @contextmanager
    def opened(self, plan: ServerPlan) -> Iterator[None]:
        """Record the plan, then take notes of what is done.

        Where the database's directory does not exist there is nothing to put the journal beside, and none is kept.
        """
        if not (plan.rooms and self.path.parent.is_dir()):
            yield
            return
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            self._append(self._header(plan.rooms))
            yield
        finally:
            os.close(self._fd)
            self._fd = None

    def done(self, room_id: RoomId) -> None:
        """Note that the homeserver acknowledged everything asked of it for this room."""
        self._append({"done": room_id})

    def settle(self, left: Iterable[RoomStep]) -> None:
        """Keep only these steps for the next run on this account, and what is other accounts'; else the file goes."""
        left = tuple(left)
        entries = [*self._others, *([self._header(left)] if left else [])]
        with suppress(OSError):  # then all of it stays, and the next run settles it
            if not entries:
                self.path.unlink()
                return
            draft = self.path.with_name(f"{self.path.name}.new")
            draft.write_bytes(b"".join(map(_line, entries)))
            draft.replace(self.path)

    def _header(self, rooms: Iterable[RoomStep]) -> dict[str, Any]:
        return {_MARK: VERSION, "whose": self._whose, "rooms": [asdict(step) for step in rooms]}

    def _append(self, entry: dict[str, Any]) -> None:
        """Write one entry. If that fails the run goes on without: it must not be left half done for its notes' sake."""
        if self._fd is None or self.note:
            return
        rest = _line(entry)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as why:
            self.note = f"{self.path} could not be written ({why.strerror}), so a later run cannot account for this one"


def _line(entry: dict[str, Any]) -> bytes:
    """Return a line with a line break before it too: the last line of a killed run may be half a line."""
    return b"\n" + json.dumps(entry).encode() + b"\n"


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Read the whole lines. A half one is no entry; anything but ours, from the first byte on, is Refused."""
    try:
        lines = [line for line in path.read_text(errors="replace").splitlines() if line]
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            if lines[0][: len(_HEAD)] != _HEAD[: len(lines[0])]:
                raise Refused(f"{path} is not a reset journal; move it out of the way") from None
            continue
        if not _is_entry(entry):
            raise Refused(f"{path} is not a reset journal of version {VERSION}; move it out of the way")
        yield entry


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    try:
        return (
            isinstance(entry["done"], str)
            if _MARK not in entry
            else (entry[_MARK] == VERSION and isinstance(entry["whose"], list) and all(map(_step, entry["rooms"])))
        )
    except (AttributeError, KeyError, TypeError):
        return False


def _step(saved: dict[str, Any]) -> RoomStep:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()}
    return RoomStep(**values)
