"""What is asked of a running dev environment: done here if it is detached, otherwise by the `dev` that owns it.

That is `start`, `stop` and `restart`, `snapshot` and `restore`, for which everything stops for a moment, and what the
stage does to the parts. The stage asks in the same way, so that the page and other commands never act at once.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from greenroom.commands.dev.breaking import ACTIONS, LOSE, breaking, check_breaking
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import noted_state, owning, read_owner, recorded_run
from greenroom.commands.dev.parts import RESTART, START, STOP, Parts, parse_part
from greenroom.commands.dev.snapshots.moment import check_name, keeping, restoring
from greenroom.commands.dev.snapshots.swap import finish
from greenroom.errors import AlreadyRunning, CannotTell, HarnessError, Misuse
from greenroom.homeserver.settings import replace_text
from greenroom.processes.procfs import ProcessIdentity
from greenroom.processes.runs import named_head
from greenroom.spelling import command
from greenroom.waiting import scaled

POLL_S = 0.05
ANSWER_S = 150.0  # a homeserver and a bot that both use up their time to start
KEEP, RESTORE = "snapshot", "restore"


@dataclass(frozen=True)
class Wish:
    """What is to be done: an action, and a part (empty: all) or a snapshot's name. Raises Misuse if it is none.

    For `lose`, `name` is what the bot loses: `database` or `store`.
    """

    action: str
    part: str = ""
    name: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        if self.action in (KEEP, RESTORE):
            check_name(self.name)
        elif self.action in ACTIONS:
            check_breaking(self.action, self.part, self.name)
        elif self.action not in (START, STOP, RESTART):
            raise Misuse(f"no such action: {self.action!r}")
        parse_part(self.part)

    def changes(self, part: str) -> bool:
        """Return whether this says that a part is to run, or not to run, from now on."""
        return self.action in (START, STOP, RESTART, LOSE) and part in parse_part(self.part)

    def carried_out(self, parts: Parts) -> AsyncIterator[str]:
        """Do it, and yield a line about each step."""
        if self.action == KEEP:
            return keeping(parts, self.name, force=self.force)
        if self.action == RESTORE:
            return restoring(parts, self.name)
        if self.action in ACTIONS:
            return breaking(parts, self.action, self.part, self.name)
        return parts.act(self.action, parse_part(self.part))


def control(folder: DevFolder, action: str, part: str, console: Console | None = None) -> int:
    """Start, stop or restart a part of the running dev environment (empty: all). Raises HarnessError or Misuse."""
    return in_turn(folder, Wish(action, part), console or Console())


def in_turn(folder: DevFolder, wish: Wish, console: Console) -> int:
    """Carry out a wish in the running dev environment, after others that wait. Raises HarnessError."""
    deadline = time.monotonic() + scaled(ANSWER_S)
    while True:
        noted_state(folder)  # raises if nothing runs here
        if owner := read_owner(folder, answering=True):
            return _ask(folder, owner, wish, console)
        try:
            with owning(folder):
                finish(folder)
                return asyncio.run(_act(recorded_parts(folder), wish, console.say))
        except AlreadyRunning:  # another command of this kind, which ends soon
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def recorded_parts(folder: DevFolder) -> Parts:
    """Return the parts of a detached environment, from its records. Raises HarnessError if there is none."""
    state, run = noted_state(folder), recorded_run(folder)
    if run is None:
        raise HarnessError(f"no dev environment runs in {folder.project}; try: {command('dev')}")
    run.head = named_head()  # it may have a warm parent; one for this command alone would save nothing
    return Parts(folder, run, outlive_us=True, state=state, environment=folder.recorded_environment())


async def _act(parts: Parts, wish: Wish, say: Callable[[str], None]) -> int:
    async for line in wish.carried_out(parts):
        say(line)
    return 0


async def ask_from_inside(folder: DevFolder, wish: Wish) -> list[str]:
    """Leave a request to the `dev` in this very process, and return its lines. Raises HarnessError."""
    path = _left(folder, wish)
    answer = path.with_suffix(".answer")
    limit_s = scaled(ANSWER_S)
    try:
        async with asyncio.timeout(limit_s):
            while not answer.exists():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(POLL_S)
        lines, problem = _answered(answer)
    except TimeoutError:
        raise CannotTell(f"dev did not answer within {limit_s:g} s", "look at its console") from None
    finally:
        path.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)
    if problem:
        raise HarnessError(problem)
    return lines


def _left(folder: DevFolder, wish: Wish) -> Path:
    """Leave a request to the owner; return its file. The answer will be beside it."""
    folder.requests.mkdir(mode=0o700, exist_ok=True)
    path = folder.requests / f"{time.time_ns()}-{secrets.token_hex(3)}.json"
    replace_text(path, json.dumps(asdict(wish)))
    return path


def _answered(answer: Path) -> tuple[list[str], str]:
    """Return the lines of an answer, and the problem; empty if there was none."""
    reply = json.loads(answer.read_text())
    return reply["lines"], reply["problem"]


def _ask(folder: DevFolder, owner: ProcessIdentity, wish: Wish, console: Console) -> int:
    """Leave a request to the owner, wait for its answer and print it; return the exit code."""
    path = _left(folder, wish)
    answer = path.with_suffix(".answer")
    limit_s = scaled(ANSWER_S)
    deadline = time.monotonic() + limit_s
    try:
        while not answer.exists():
            if not owner.is_alive():
                raise HarnessError(f"dev (pid {owner.pid}) ended before it answered; try: {command('dev')}")
            if time.monotonic() > deadline:
                raise CannotTell(
                    f"dev (pid {owner.pid}) did not answer within {limit_s:g} s", f"look at it, or: {command('down')}"
                )
            time.sleep(POLL_S)
        lines, problem = _answered(answer)
    finally:
        path.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)
    for line in lines:
        console.say(line)
    if problem:
        raise HarnessError(problem)
    return 0


@dataclass
class Request:
    """What a command asks of the `dev` in the foreground."""

    path: Path
    wish: Wish
    lines: list[str] = field(default_factory=list)

    async def carry_out(self, parts: Parts, say: Callable[[str], None]) -> None:
        """Do it, and answer with the lines about it. A failure goes to the one who asked; `dev` stays."""
        problem = ""
        try:
            async for line in self.wish.carried_out(parts):
                self.lines.append(line)
                say(line)
        except HarnessError as error:
            problem = str(error)
            say(problem)
        replace_text(self.path.with_suffix(".answer"), json.dumps({"lines": self.lines, "problem": problem}))


def requests(folder: DevFolder) -> Iterator[Request]:
    """Take the waiting requests, oldest first. A file that is none goes away, and `dev` stays."""
    for path in sorted(folder.requests.glob("*.json")):
        try:
            wish = json.loads(path.read_text())
            path.unlink()
            yield Request(path, Wish(**wish))
        except FileNotFoundError:  # withdrawn
            continue
        except (OSError, ValueError, LookupError, TypeError, Misuse):
            _remove(path)


def forget_requests(folder: DevFolder) -> None:
    """Remove what was asked of an earlier `dev`."""
    _remove(folder.requests)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
