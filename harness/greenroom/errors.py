"""The errors of the harness.

    HarnessError                 the harness could not judge, or could not carry out a request
    ├── Misuse                   bad input: option, blueprint, environment           (exit code 2)
    │   └── WrongFile            a file that a person wrote is wrong, at a named place
    │       └── BlueprintError   it is a blueprint
    ├── Unavailable              this machine cannot do it; the message names a fix  (exit code 2)
    │   └── CapabilityMissing    this homeserver cannot do it, another kind can      (a test is skipped)
    ├── AlreadyRunning           another `dev` owns this checkout                    (exit code 2)
    ├── StartFailed              a process ended, or timed out, before it was ready
    │   ├── NotReady             it still runs: it was not ready in time
    │   └── PortTaken            another program listens on the port
    ├── Died                     a server or bot ended on its own while it was needed
    ├── Unreachable              nothing answers at the homeserver's URL
    ├── MatrixRefused            the homeserver answered with an error
    ├── SeedingFailed            a step of a seeding failed; the message names it
    ├── NotStarted               a command did not start, for want of its homeserver (exit code 3)
    └── CannotTell               there is no verdict, for example without a sentinel (exit code 3)

    NotMet (AssertionError)      the system misbehaved: a wait ended without its condition
    Happened (AssertionError)    the system misbehaved: something happened that must never happen

The two kinds are separate on purpose: `AssertionError` blames the system under test, `HarnessError` blames the harness
or the machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SHOWN_CAUSES = 3  # in one message
LINES_BESIDE_A_CAUSE = 3  # last log lines, where a cause has quoted the log
SINCE_SLACK_S = 0.5  # a bot may react to a question before the wait for its answer begins


class HarnessError(Exception):
    """Base of all errors of the harness, except `NotMet` and `Happened`."""

    exit_code = 1


class Misuse(HarnessError):
    """Bad input from a person. The message is one line."""

    exit_code = 2


class WrongFile(Misuse):
    """A file is wrong. `source` is the file, with line and column; `where` is a dotted path inside it."""

    def __init__(self, source: str, where: str, problem: str) -> None:
        super().__init__(f"{source}: {where}: {problem}" if where else f"{source}: {problem}")
        self.source = source
        self.where = where
        self.problem = problem


class BlueprintError(WrongFile):
    """A blueprint is wrong."""


class Unavailable(HarnessError):
    """This machine lacks something that `what` needs; `fix` is one line that a person can act on."""

    exit_code = 2

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what} is not available: {why}. Try: {fix}")
        self.what = what
        self.why = why
        self.fix = fix


class CapabilityMissing(Unavailable):
    """The homeserver in use cannot do something that another kind or backend can do.

    `reason` says why it cannot. `instead` says what stands in for it.
    """

    def __init__(
        self,
        capability: str,
        homeserver: str,
        reason: str = "",
        instead: str = "another kind of homeserver, or another backend",
    ) -> None:
        because = f": {reason}" if reason else ""
        super().__init__(capability, f"{homeserver} cannot do it{because}", instead)
        self.capability = capability
        self.reason = reason
        self.instead = instead


class AlreadyRunning(HarnessError):
    """A dev environment of this checkout is already running."""

    exit_code = 2


@dataclass(frozen=True)
class Cause:
    """Why a bot did not do what was expected. `headline` is one line with its subject, `details` are more lines.

    `kind` is a short name to branch on. `from_log`: the details quote the bot's log.
    """

    kind: str
    headline: str
    details: tuple[str, ...] = ()
    from_log: bool = False


def cause_lines(causes: Sequence[Cause]) -> list[str]:
    """Return causes as lines for a message: the first with its details, one line for each of the next."""
    if not causes:
        return []
    lines = [causes[0].headline, *(f"    {line}" for line in causes[0].details)]
    return lines + [f"  also: {cause.headline}" for cause in causes[1:SHOWN_CAUSES]]


def _headed(name: str, what: str, problem: str, causes: Sequence[Cause]) -> str:
    """Return the first lines of an error: what happened to `name`, with the best cause in the first line."""
    if not causes:
        return f"{name} {what}: {problem}"
    first, *more = cause_lines(causes)
    first = f"it {first.removeprefix('the bot ')}" if first.startswith("the bot ") else first
    first = first.removeprefix("it ") if first.startswith("it ended ") else first
    known = first.startswith(problem)
    return "\n".join([f"{name} {what}: {first}", *more, *([] if known else [f"  {problem}"])])


def with_log(headline: str, log_path: Path | None, tail: Sequence[str], hint: str = "") -> str:
    """Return one message: the headline, the last log lines, the path of the full log and a hint."""
    lines = [headline]
    if tail:
        lines.append("  last log lines:")
        lines += [f"    {line}" for line in tail]
    if log_path is not None:
        lines.append(f"  full log: {log_path}")
    if hint:
        lines.append(f"  try: {hint}")
    return "\n".join(lines)


class StartFailed(HarnessError):
    """`name` did not become ready. `causes`: why, the best known first."""

    def __init__(
        self,
        name: str,
        problem: str,
        *,
        log_path: Path | None = None,
        tail: Sequence[str] = (),
        hint: str = "",
        causes: Sequence[Cause] = (),
    ) -> None:
        headline = _headed(name, "did not start", problem, causes)
        super().__init__(with_log(headline, log_path, _beside(tail, causes), hint))
        self.causes = tuple(causes)
        self.name = name
        self.problem = problem
        self.log_path = log_path
        self.tail = tuple(tail)


class PortTaken(StartFailed):
    """Another program listens on the requested port."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(
            name, f"port {port} on 127.0.0.1 is taken by another program", hint="another --port, or none for a free one"
        )
        self.port = port


class NotReady(StartFailed):
    """`name` runs, but was not ready in time."""


class Died(HarnessError):
    """`name` was running and ended, though nobody asked it to stop. `causes`: why, the best known first."""

    def __init__(
        self,
        name: str,
        status: str,
        *,
        log_path: Path | None = None,
        tail: Sequence[str] = (),
        causes: Sequence[Cause] = (),
    ) -> None:
        super().__init__(with_log(_headed(name, "died", status, causes), log_path, _beside(tail, causes)))
        self.causes = tuple(causes)
        self.name = name
        self.status = status
        self.log_path = log_path
        self.tail = tuple(tail)


class Unreachable(HarnessError):
    """The homeserver gave no answer. A write may have happened or not."""

    def __init__(self, request: str, problem: str) -> None:
        super().__init__(f"{request} got no answer: {problem}")
        self.request = request
        self.problem = problem


class MatrixRefused(HarnessError):
    """The homeserver answered a request with an error. `body` holds all that it sent."""

    def __init__(self, request: str, status: int, body: Any) -> None:
        self.request = request
        self.status = status
        self.body = body
        self.errcode: str = str(body.get("errcode", "")) if isinstance(body, dict) else ""
        said = str(body.get("error", "")) if isinstance(body, dict) else str(body)[:200]
        super().__init__(f"{request} was refused: {status} {self.errcode} {said}".rstrip())


class SeedingFailed(HarnessError):
    """A homeserver refused a step of a seeding, or did not answer. `cause` is that error."""

    def __init__(self, blueprint: str, step: str, cause: HarnessError) -> None:
        what = "correct the blueprint, then seed again" if isinstance(cause, MatrixRefused) else "seed again"
        super().__init__(f"blueprint {blueprint!r}: {step}: {cause}. Try: {what}; steps already done are not repeated")
        self.step = step
        self.cause = cause


class NotStarted(HarnessError):
    """The command of `greenroom run` was not started, because its homeserver or its people could not be had."""

    exit_code = 3


class CannotTell(HarnessError):
    """There is no verdict: `problem` is why, `why` the details."""

    exit_code = 3

    def __init__(self, problem: str, why: object) -> None:
        super().__init__(f"inconclusive: {problem}: {why}")
        self.problem = problem


def _beside(tail: Sequence[str], causes: Sequence[Cause]) -> Sequence[str]:
    return tail[-LINES_BESIDE_A_CAUSE:] if any(cause.from_log for cause in causes) else tail


class BotLike(Protocol):
    """A bot, whose requests and last log lines may explain its behaviour."""

    user_id: str
    log_path: Path

    def log_tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of the bot's log."""

    def causes(self, *, since: float) -> list[Cause]:
        """Return why the bot has not done what it was asked since then (seconds since the epoch), best first."""

    def repeats(self) -> list[Cause]:
        """Return what the bot has sent more than once, and why."""


def bots_in(watched: Iterable[object]) -> list[BotLike]:
    """Return the bots in `watched`: a homeserver explains nothing here."""
    return [one for one in watched if hasattr(one, "user_id") and hasattr(one, "log_tail")]  # type: ignore[misc]


def causes_of(watched: Iterable[object], *, since: float) -> list[Cause]:
    """Return why the bots in `watched` have not done what they were asked, best first."""
    bots = [bot for bot in bots_in(watched) if hasattr(bot, "causes")]
    return [_named(cause, bot, len(bots)) for bot in bots for cause in bot.causes(since=since)]


def _named(cause: Cause, bot: BotLike, bots: int) -> Cause:
    if bots < 2:
        return cause
    return Cause(cause.kind, f"{bot.user_id}: {cause.headline}", cause.details, cause.from_log)


def logs_of(watched: Iterable[object], *, lines: int = 5) -> list[str]:
    """Return, as lines for a message, the last log lines of each bot in `watched`."""
    shown: list[str] = []
    for bot in bots_in(watched):
        tail = bot.log_tail(lines)
        if not tail:
            shown.append(f"  {bot.user_id or 'the bot'} has logged nothing")
            continue
        shown += [f"  last log lines of {bot.user_id or 'the bot'}:", *(f"    {line}" for line in tail)]
        shown.append(f"  full log: {bot.log_path}")
    return shown


def _explained(said: Sequence[str], causes: Sequence[Cause], watched: Iterable[object]) -> str:
    """Return a message: the causes, then what is said, then the last log lines."""
    first = cause_lines(causes)
    lines = LINES_BESIDE_A_CAUSE if any(cause.from_log for cause in causes) else 5
    rest = [f"  {said[0]}", *said[1:]] if first else said
    return "\n".join([*first, *rest, *logs_of(watched, lines=lines)])


class NotMet(AssertionError):
    """A wait ended without its condition. `reasons` holds, with times, what was seen instead, oldest first.

    `causes` holds why, the best known first; if not passed, what the bots in `watched` show.
    """

    def __init__(
        self,
        what: str,
        waited_s: float,
        reasons: Sequence[tuple[float, str]],
        *,
        watched: Iterable[object] = (),
        causes: Sequence[Cause] | None = None,
    ) -> None:
        self.what = what
        self.waited_s = waited_s
        self.reasons = tuple(reasons)
        watched = tuple(watched)
        since = time.time() - waited_s - SINCE_SLACK_S
        self.causes = tuple(causes_of(watched, since=since) if causes is None else causes)
        lines = [f"waited {waited_s:.1f} s for {what}; it did not happen"]
        if reasons:
            lines.append("  seen instead:")
            lines += [f"    {at:6.2f} s  {reason}" for at, reason in reasons]
        super().__init__(_explained(lines, self.causes, watched))


class Happened(AssertionError):
    """Something happened that must never happen. `seen` is the evidence, `causes` what the bot's requests show."""

    def __init__(self, what: str, seen: object, *, watched: Iterable[object] = ()) -> None:
        self.what = what
        self.seen = seen
        watched = tuple(watched)
        repeats = [cause for bot in bots_in(watched) if hasattr(bot, "repeats") for cause in bot.repeats()]
        self.causes = tuple(repeats)
        because = [f"  because: {line}" if n == 0 else f"  {line}" for n, line in enumerate(cause_lines(repeats))]
        lines = [f"{what}; that must never happen", *because, f"  seen: {seen}", *logs_of(watched)]
        super().__init__("\n".join(lines))
