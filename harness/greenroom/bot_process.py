"""A bot under test: any command line as a supervised process with its own environment and store.

The reading of logs and transcripts for a cause is imported when a bot has failed. It brings the proxy and its HTTP
server along, and `dev` needs neither at its start.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from greenroom.bot_ready import Ready, log_line
from greenroom.errors import Cause, Died, Misuse, NotReady, StartFailed
from greenroom.evidence.asked import AskedBot
from greenroom.processes.ports import holder
from greenroom.processes.process import Command, ManagedProcess
from greenroom.processes.runs import NO_RUN, Run
from greenroom.waiting import Check, NotYet, scaled, until

if TYPE_CHECKING:
    from greenroom.faults import Deliveries, FaultProxy, Transcript
    from greenroom.homeserver.interface import RunningHomeserver
    from greenroom.people.accounts import Account

OUR_BOT = (sys.executable, "-P", "-m", "greenroom_bot")  # -P: no file of the working directory stands in for a module
BOT_LOCALPART = "bot"  # the bot's account on a homeserver that is not a test's
OUR_READY_LINE = '"event": "matrix_live"'


@dataclass(frozen=True)
class BotSettings:
    """A bot that has not been started.

    `command` is a list or a string that is split as a shell would; `env` is added to a clean environment. For a bot
    that reads other names, `${MATRIX_HOMESERVER}` and the other variables of `matrix_environment` are filled in, and
    so are `variables`, which the bot does not find in its environment.
    """

    command: str | Sequence[str]
    folder: Path  # log, database and store; made if missing
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = field(default_factory=Path.cwd)
    ready: Ready = field(default_factory=lambda: log_line(OUR_READY_LINE))
    ready_timeout_s: float = 30.0
    log_path: Path | None = None
    dies_with_parent: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)
    server: RunningHomeserver | None = None
    faults: FaultProxy | None = None  # the proxy through which the bot reaches it, if any
    deliveries: Deliveries | None = None  # the proxy in the other direction, of an application service

    @asynccontextmanager
    async def running(self, run: Run = NO_RUN) -> AsyncIterator[RunningBot]:
        """Run the bot for the length of an `async with`."""
        __tracebackhide__ = True
        bot = await self.start(run)
        try:
            yield bot
        finally:
            await bot.stop()

    async def start(self, run: Run = NO_RUN) -> RunningBot:
        """Start the bot and return when it is ready. Raises StartFailed, and then leaves nothing running."""
        __tracebackhide__ = True
        bot = self.spawn(run)
        await bot.until_ready()
        return bot

    def spawn(self, run: Run = NO_RUN) -> RunningBot:
        """Start the bot and return at once; wait with its `until_ready`. Raises StartFailed if it cannot be run."""
        bot = RunningBot(self, ManagedProcess(self.as_command(), run=run))
        bot.spawn()
        return bot

    def environment(self) -> dict[str, str]:
        """Return the bot's whole environment."""
        return bot_environment(self.env, variables=self.variables)

    def as_command(self) -> Command:
        """Return the command line and the whole environment, with all variables filled in."""
        env = self.environment()
        known = {**env, **self.variables}
        argv = split_command(self.command)
        return Command(
            name="bot",
            argv=[Template(part).safe_substitute(known) for part in argv],
            cwd=self.cwd,
            env=env,
            log_path=self.log_path or self.folder / "bot.log",
            dies_with_parent=self.dies_with_parent,
        )


class RunningBot:
    """A bot that was ready once. After `stop` or `kill` it is down until `start_again`; it keeps its store."""

    def __init__(self, settings: BotSettings, process: ManagedProcess) -> None:
        self.settings = settings
        self.env = dict(process.command.env)
        self.log_path = process.command.log_path
        self._process = process
        self._spawned_at = 0.0
        self.spawned_at_epoch_s = 0.0  # wall clock, as in logs and transcripts
        self.hears_itself = True  # until a sync is seen that keeps the bot's own messages from it

    @property
    def user_id(self) -> str:
        """The bot's account."""
        return self.env.get("MATRIX_USER_ID", "")

    @property
    def known(self) -> Mapping[str, str]:
        """The bot's environment and its other variables."""
        return {**self.env, **self.settings.variables}

    @property
    def transcript(self) -> Transcript | None:
        """The requests of the proxy through which the bot reaches its homeserver; None without a proxy."""
        return None if self.settings.faults is None else self.settings.faults.transcript

    @property
    def server(self) -> RunningHomeserver:
        """The bot's homeserver. Raises Misuse for a bot that was started without one."""
        if self.settings.server is None:
            raise Misuse("this bot was started without a homeserver")
        return self.settings.server

    @property
    def faults(self) -> FaultProxy:
        """The proxy through which the bot reaches its homeserver. Raises Misuse for a bot without one."""
        if self.settings.faults is None:
            raise Misuse("this bot reaches its homeserver without a proxy")
        return self.settings.faults

    def early_invites_held(self, inviter: str) -> AbstractContextManager[object]:
        """Hold invites of a user on another homeserver until that has stored them: before, it refuses the bot's join.

        https://github.com/element-hq/synapse/issues/2367
        """
        faults = self.settings.faults
        if faults is None or inviter.partition(":")[2] == self.user_id.partition(":")[2]:
            return nullcontext()
        return faults.hold_response(path="/sync", user=self, containing=inviter)

    @property
    def deliveries(self) -> Deliveries:
        """The proxy for what the homeserver sends to an application service. Raises Misuse for another bot."""
        if self.settings.deliveries is None:
            raise Misuse("this bot is no application service; start it with `appservice=True`")
        return self.settings.deliveries

    @property
    def folder(self) -> Path:
        """The folder of the bot's state."""
        return self.settings.folder

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    def is_running(self) -> bool:
        """Return whether the process runs."""
        return self._process.is_running()

    def running_for_s(self) -> float:
        """Return the seconds since the latest start."""
        return time.monotonic() - self._spawned_at

    def check_alive(self) -> None:
        """Raise Died, with the cause and the last log lines, if the bot has ended."""
        __tracebackhide__ = True
        try:
            self._process.check_alive()
        except Died as error:
            causes = [] if self._process.ended_on_request else self.causes(since=self.spawned_at_epoch_s)
            raise Died(error.name, error.status, log_path=error.log_path, tail=error.tail, causes=causes) from None

    def causes(self, *, since: float, asked: str | None = None, room: str | None = None) -> list[Cause]:
        """Return why the bot has not done what was expected since then, the best cause first.

        `since` is in seconds since the epoch; `asked` and `room` are the event id of the question and its room.
        """
        from greenroom.evidence.cause import find_causes, ports_in_use

        log = self.log_text()
        return find_causes(
            None if self.transcript is None else self.transcript.entries(),
            log,
            user_id=self.user_id,
            since=max(since, self.spawned_at_epoch_s),
            asked=asked,
            own=[self.settings.cwd],
            room=room,
            ended="" if self.is_running() else self._process.status(),
            holders={port: holder(port, self._process.run_id) for port in ports_in_use(log)},
        )

    def repeats(self) -> list[Cause]:
        """Return what the bot has sent more than once under different transaction ids."""
        from greenroom.evidence.cause import repeated

        return [] if self.transcript is None else repeated(self.transcript.entries(user=self.user_id))

    def about(self, event_id: str | None = None, *, room: str | None = None, at: float | None = None) -> AskedBot:
        """Return this bot for `watch=` of a wait, so that an error says what became of a question asked at `at`."""
        return AskedBot(self, event_id, room, time.time() if at is None else at)

    def log_text(self) -> str:
        """Return the log of the latest start."""
        return self._process.log_text()

    def log_tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of the log of the latest start."""
        return self._process.tail(lines)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the structured log lines of the latest start (JSON objects with a key `event`), of one name or all."""
        found = []
        for line in self.log_text().splitlines():
            if not line.startswith("{"):
                continue
            try:
                entry = json.loads(line)
            except ValueError:  # the last line may be half written
                continue
            if isinstance(entry, dict) and "event" in entry and name in (None, entry["event"]):
                found.append(entry)
        return found

    async def until_logged(self, event: str, *, timeout_s: float = 15.0) -> dict[str, Any]:
        """Wait for a structured log line of that name; return the first one of the latest start."""

        def check() -> dict[str, Any] | NotYet:
            found = self.events(event)
            return found[0] if found else NotYet(f"{len(self.events())} structured log lines, none with that event")

        return await until(check, f"the bot to log {event!r}", timeout_s=timeout_s, watch=[self])

    async def start_again(self) -> None:
        """Start the bot after `stop` or `kill`, with the same store; return when it is ready."""
        __tracebackhide__ = True
        self.spawn()
        await self.until_ready()

    def spawn(self) -> None:
        """Start the process. Raises StartFailed if it cannot be run."""
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        self.spawned_at_epoch_s = time.time()
        self._process.spawn()
        self._spawned_at = time.monotonic()

    async def until_ready(self) -> None:
        """Return when the spawned bot is ready. Raises StartFailed, and then leaves nothing running."""
        __tracebackhide__ = True
        try:
            await self._until_ready()
        except BaseException:
            self._process.kill_now()
            raise

    async def _until_ready(self) -> None:
        __tracebackhide__ = True

        async def ask() -> bool | NotYet:
            answer = self.settings.ready(self)
            reason = await answer if inspect.isawaitable(answer) else answer
            return True if reason is None else NotYet(reason)

        check: Check[bool] = ask
        limit_s = self.settings.ready_timeout_s
        try:
            await until(check, "the bot to be ready", timeout_s=limit_s, watch=[self], every_s=0.02)
        except Died as error:
            why: dict[str, Any] = {"tail": error.tail, "causes": error.causes}
            raise StartFailed("the bot", error.status, log_path=self.log_path, **why) from None
        except AssertionError as error:
            reasons = getattr(error, "reasons", ())
            problem = f"not ready after {scaled(limit_s):g} s: {reasons[-1][1] if reasons else 'no reason known'}"
            why = {"tail": self.log_tail(), "causes": self.causes(since=self.spawned_at_epoch_s)}
            raise NotReady("the bot", problem, log_path=self.log_path, **why) from None

    async def stop(self, timeout_s: float = 10.0) -> int | None:
        """Stop the bot with SIGTERM, and with SIGKILL after `timeout_s`; return the exit code."""
        return await self._process.stop(timeout_s)

    async def kill(self) -> int | None:
        """Kill the bot with SIGKILL, as a crash would; return the exit code."""
        return await self._process.kill()

    async def restart(self) -> None:
        """Stop the bot and start it again; return when it is ready."""
        await self.stop()
        await self.start_again()

    def pause(self) -> None:
        """Freeze the bot with SIGSTOP."""
        self._process.pause()

    def resume(self) -> None:
        """Continue a frozen bot."""
        self._process.resume()

    async def wait(self, timeout_s: float) -> int | None:
        """Wait until the bot ends by itself; return its exit code, or None if it still runs after `timeout_s`."""
        return await self._process.wait(timeout_s)


def check_program(command: str | Sequence[str], what: str, cwd: Path = Path(), search: str = "") -> None:
    """Raise Misuse, naming `what`, unless the program of a command can be run by a bot in the folder `cwd`.

    `search` is a PATH other than the usual one. A program whose path has a variable is not looked for.
    """
    program = split_command(command)[0]
    path = str(cwd / program) if "/" in program else program
    if "$" in program or shutil.which(path, path=search or bot_environment({})["PATH"]) is not None:
        return
    if (cwd / program).is_file():
        raise Misuse(f"{program} of {what} is not executable. Try: chmod +x, or name its interpreter, as in 'python …'")
    raise Misuse(f"there is no program {program!r} for {what}")


def matrix_environment(server: RunningHomeserver, account: Account, folder: Path) -> dict[str, str]:
    """Return the variables with a bot's homeserver, its account and the paths of its state."""
    return {
        "MATRIX_HOMESERVER": server.url,
        "MATRIX_USER_ID": account.user_id,
        "MATRIX_PASSWORD": account.password,
        "MATRIX_DB_PATH": str(folder / "lambda_matrix.db"),
        "MATRIX_STORE_PATH": str(folder / "matrix_store"),
    }


def bot_environment(
    own: Mapping[str, str], outer: Mapping[str, str] = os.environ, *, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return a bot's whole environment: `outer` without Matrix settings, this Python first on PATH, and `own`.

    A value in `own` may mention the others, and `variables`, which themselves do not become part of the environment.
    """
    inherited = {name: value for name, value in outer.items() if not name.startswith("MATRIX_")}
    here = str(Path(sys.executable).parent)
    inherited["PATH"] = os.pathsep.join([here, outer.get("PATH", os.defpath)])
    known = {**own, **(variables or {})}
    filled = {name: Template(value).safe_substitute(known) for name, value in own.items()}
    return {**inherited, "PYTHONUNBUFFERED": "1", **filled}


def is_ours(command: str | Sequence[str]) -> bool:
    """Return whether a command runs the reference bot on this Python, with or without -P."""
    return [part for part in split_command(command) if part != "-P"] == [part for part in OUR_BOT if part != "-P"]


def split_command(command: str | Sequence[str]) -> list[str]:
    """Split a command line as a shell would, without running one."""
    try:
        argv = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise Misuse(f"cannot read the bot's command {command!r}: {error}") from None
    if not argv:
        raise Misuse("the bot's command is empty")
    return argv
