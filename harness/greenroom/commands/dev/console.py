"""The output of `dev`: a table and colours on a terminal, otherwise plain lines without control characters."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import tzinfo
from typing import Any, TextIO

from greenroom.commands.dev.follow import clock

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
REWRITE_S, LINE_S = 0.1, 3.0  # between two reports of progress: on a terminal, elsewhere
STYLES = {"homeserver": "cyan", "bot": "green"}
# The second word of a readable line is its level.
LEVEL_STYLES = {"warn": "yellow", "warning": "yellow", "error": "red", "critical": "red"}


class Console:
    """Prints for a person; uses colours and tables if `stream` is a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        if isinstance(self._stream, io.TextIOWrapper):  # a person may write what this terminal cannot show
            self._stream.reconfigure(errors="backslashreplace")
        self._rich: Any = None
        if self._stream.isatty():
            from rich.console import Console as RichConsole

            self._rich = RichConsole(file=self._stream, highlight=False)

    def say(self, line: str) -> None:
        """Print one line."""
        if self._rich:
            self._rich.print(line, markup=False)
        else:
            print(line, file=self._stream, flush=True)

    def progress(self, label: str) -> Progress:
        """Return a line about work that takes a while; call it with the number of steps done and of all."""
        return Progress(self._stream, label)

    def log(self, source: str, line: str) -> None:
        """Print a line of a log as `readable` has it, with its source in front and without control characters."""
        for part in readable(line):
            clean = CONTROL.sub("", part)
            if self._rich:
                from rich.text import Text

                level = "".join(clean.split()[1:2])
                parts = (f"{source:<10} | ", STYLES.get(source, "")), (clean, LEVEL_STYLES.get(level, ""))
                self._rich.print(Text.assemble(*parts), soft_wrap=True)
            else:
                print(f"{source:<10} | {clean}", file=self._stream, flush=True)

    def overview(self, state: Mapping[str, Any]) -> None:
        """Print where everything is and which people can log in."""
        rows = overview_rows(state)
        if self._rich:
            self._rich.print(_table(None, rows))
        else:
            for name, value in rows:
                self.say(f"{name:<12} {value}")
        self.logins(state["homeserver"]["url"], logins_of(state))

    def logins(self, url: str, logins: Sequence[tuple[str, str]]) -> None:
        """Print who can log in (user id, password), and what to enter in a Matrix client."""
        self.people(logins)
        self.say(paste_line(url, logins))

    def people(self, logins: Iterable[tuple[str, str]]) -> None:
        """Print the user id and the password of each person."""
        logins = list(logins)
        if self._rich and logins:
            self._rich.print(_table(("people", "password"), logins))
            return
        for user_id, password in logins:
            self.say(f"{'person':<12} {user_id}  password {password}")


class Progress:
    """`seed: 120/584, about 4 s left`: one line that is rewritten on a terminal, otherwise a line every few seconds.

    On a terminal the cursor stays at the line's beginning, so that whatever is printed next, an error too, replaces it.
    """

    def __init__(self, stream: TextIO, label: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._label = label
        self._clock = clock
        self._every_s = REWRITE_S if stream.isatty() else LINE_S
        self._began = self._said = clock()

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is, unless that was said just before."""
        now = self._clock()
        if self._stream.isatty() and done >= total:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
        elif done < total and now - self._said >= self._every_s:
            self._said = now
            left_s = (now - self._began) / done * (total - done) if done else 0
            line = f"{self._label}: {done}/{total}" + (f", about {max(left_s, 1):.0f} s left" if done else "")
            rewritten = self._stream.isatty()
            print(
                f"\r{line}\x1b[K\r" if rewritten else line, end="" if rewritten else "\n", file=self._stream, flush=True
            )


def logins_of(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return user id and password of each person. The bot is none; its password is in `dev.env`."""
    logins = [(person["user_id"], person["password"]) for person in state["people"]]
    return [(user_id, password) for user_id, password in logins if user_id != state["bot"]["user_id"]]


def overview_rows(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the overview: name and value."""
    server, bot = state["homeserver"], state["bot"]
    how = f"{server['kind']}, {server['backend']}, server name {server['server_name']}"
    return [
        ("homeserver", f"{server['url']}  ({how})"),
        ("bot", f"{bot['user_id']}  ({bot['command']}, {f'pid {pid}' if (pid := bot['pid']) else 'stopped'})"),
        ("environment", str(state["env_file"])),
        ("logs", f"{server['log']}  {bot['log']}"),
    ]


def paste_line(url: str, logins: Sequence[tuple[str, str]]) -> str:
    """Return the line that says what to enter in a Matrix client, for the first of the people."""
    where = f"In a Matrix client: homeserver {url}"
    if not logins:
        return where
    user_id, password = logins[0]
    return f"{where}  user {user_id[1:].partition(':')[0]}  password {password}"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: `5 s`, `3 min`, `2 h 5 min`, `4 d 1 h`."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def readable(line: str, zone: tzinfo | None = None) -> list[str]:
    """Return a structured log line as lines for a person, and any other line as it is.

    A message with its texts becomes `time room @person: text`, and a second line if it was answered; anything else
    `time level event key=value`, and the lines of its exception. Times are in `zone`, or in the local one.
    """
    if not line.startswith("{"):
        return [line]
    try:
        entry = json.loads(line)
    except ValueError:
        return [line]
    if not isinstance(entry, dict) or "event" not in entry:
        return [line]
    event = entry.pop("event")
    when = clock(str(entry.pop("timestamp", "")), zone=zone)
    level = str(entry.pop("level", ""))
    if event == "message_handled" and "body" in entry:
        return _talk(when, entry)
    if event == "room_drifted" and entry.get("room"):
        entry.pop("room_id", None)  # the name is enough; the log has both
    if event == "matrix_reconcile_complete":
        entry = _counted(entry)
    failure: list[str] = []
    with suppress(KeyError, TypeError):  # not structlog's: shown like any other key
        failure = _failure(entry["exception"])
        del entry["exception"]
    rest = " ".join(f"{key}={value}" for key, value in entry.items() if value not in (None, "", [], {}))
    return [" ".join(part for part in (when, level, str(event), rest) if part), *failure]


def _failure(chain: Any) -> list[str]:
    """Return structlog's exception as lines like Python's own: causes first. A text is split into its lines."""
    if isinstance(chain, str):
        return chain.splitlines()
    lines: list[str] = []
    for one in reversed(chain):
        lines += [f'  File "{at["filename"]}", line {at["lineno"]}, in {at["name"]}' for at in one["frames"]]
        lines.append(f"{one['exc_type']}: {one['exc_value']}")
    return lines


def _talk(when: str, entry: Mapping[str, Any]) -> list[str]:
    """Return what a person said in a room and, if there is one, the bot's answer."""
    where = f"{when} {entry.get('room') or entry.get('room_id')} "
    person = str(entry.get("sender", "")).partition(":")[0]  # everybody in `dev` is on one server
    said = [f"{where} {person}: {entry['body']}"]
    return [*said, f"{where} -> {entry['answer']}"] if entry.get("answer") else said


def _counted(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with each counter beside the other keys, and without what is zero."""
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return {key: value for key, value in flat.items() if value}


def _table(heads: tuple[str, str] | None, rows: list[tuple[str, str]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=heads is not None, pad_edge=False)
    for head in heads or ("", ""):
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
