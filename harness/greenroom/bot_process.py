"""A bot under test: anybody's command line as a supervised process with an environment and a store of its own."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from greenroom.errors import Died, Misuse, StartFailed
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.accounts import Account
from greenroom.processes.process import Command, ManagedProcess, OnSpawn
from greenroom.waiting import Check, NotYet, scaled, until

if TYPE_CHECKING:
    from greenroom.faults import FaultProxy

OUR_BOT = (sys.executable, "-P", "-m", "greenroom_bot")  # -P: no file of the working directory stands in for a module
LISTENS_AFTER_S = 0.25  # a sync that has something to say answers sooner
OUR_READY_LINE = '"event": "matrix_live"'

# Given the bot, says None when it is ready and otherwise, in a few words, what is missing.
Ready = Callable[["RunningBot"], "str | Awaitable[str | None] | None"]


def log_line(text: str) -> Ready:
    """Be ready when the bot's log holds a line with `text`; lines of earlier starts do not count."""

    def ready(bot: RunningBot) -> str | None:
        return None if text in bot.log_text() else f"its log has no line with {text!r} yet"

    return ready


def http_ok(url: str) -> Ready:
    """Be ready when `url` answers with a 2xx: for bots that have a health endpoint."""

    async def ready(bot: RunningBot) -> str | None:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                return None if 200 <= response.status < 300 else f"{url} answers {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{url}: {type(error).__name__}"

    return ready


def first_sync(faults: FaultProxy) -> Ready:
    """Be ready when the bot, seen through the proxy, listens: it came back from one `/sync` for the next.

    Asks nothing of the bot. A long-poll that goes on from a saved position counts once it has waited for a moment.
    """

    def ready(bot: RunningBot) -> str | None:
        begun = [
            entry
            for entry in faults.transcript.entries(user=bot.user_id, path="/sync")
            if entry.at >= bot.spawned_at_epoch_s
        ]
        done = any(entry.status == 200 for entry in begun[:-1])
        polls = any(
            entry.duration_s is None and "since=" in entry.query and time.time() - entry.at > LISTENS_AFTER_S
            for entry in begun
        )
        return None if done or polls else f"it has begun {len(begun)} sync(s) and come back from none"

    return ready


def either(*conditions: Ready) -> Ready:
    """Be ready when one of these says so."""

    async def ready(bot: RunningBot) -> str | None:
        reasons = []
        for condition in conditions:
            answer = condition(bot)
            reason = await answer if inspect.isawaitable(answer) else answer
            if reason is None:
                return None
            reasons.append(reason)
        return "; ".join(reasons)

    return ready


def running_for(seconds: float) -> Ready:
    """Be ready after running for a while: the weakest condition, for a bot that says nothing of itself."""

    def ready(bot: RunningBot) -> str | None:
        ran_s = bot.running_for_s()
        return None if ran_s >= seconds else f"it has run for {ran_s:.1f} s of {seconds:g} s"

    return ready


@dataclass(frozen=True)
class BotSettings:
    """A bot that has not been started.

    `command` is a shell-like string or a list; `env` is added to a clean environment. In both, `${MATRIX_HOMESERVER}`
    and the other variables of `matrix_environment` are filled in, for bots that read other names.
    """

    command: str | Sequence[str]
    folder: Path  # log, database and store; made if missing
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = field(default_factory=Path.cwd)
    ready: Ready = field(default_factory=lambda: log_line(OUR_READY_LINE))
    ready_timeout_s: float = 30.0
    log_path: Path | None = None
    dies_with_parent: bool = True

    @asynccontextmanager
    async def running(self, on_spawn: OnSpawn | None = None) -> AsyncIterator[RunningBot]:
        """Run the bot for the length of an `async with`."""
        __tracebackhide__ = True
        bot = await self.start(on_spawn)
        try:
            yield bot
        finally:
            await bot.stop()

    async def start(self, on_spawn: OnSpawn | None = None) -> RunningBot:
        """Start the bot and return once it is ready. Raises StartFailed, and leaves nothing running then."""
        __tracebackhide__ = True
        bot = RunningBot(self, ManagedProcess(self._as_command(), on_spawn=on_spawn))
        await bot.start_again()
        return bot

    def _as_command(self) -> Command:
        env = bot_environment(self.env)
        argv = split_command(self.command)
        return Command(
            name="bot",
            argv=[Template(part).safe_substitute(env) for part in argv],
            cwd=self.cwd,
            env=env,
            log_path=self.log_path or self.folder / "bot.log",
            dies_with_parent=self.dies_with_parent,
        )


class RunningBot:
    """A bot that was ready once. After `stop` or `kill` it is down until `start_again`; its store stays."""

    def __init__(self, settings: BotSettings, process: ManagedProcess) -> None:
        self.settings = settings
        self.env = dict(process.command.env)
        self.log_path = process.command.log_path
        self._process = process
        self._spawned_at = 0.0
        self.spawned_at_epoch_s = 0.0  # wall clock, as in logs and transcripts

    @property
    def user_id(self) -> str:
        """The account it was given."""
        return self.env.get("MATRIX_USER_ID", "")

    @property
    def folder(self) -> Path:
        """Where its state is."""
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
        """Say whether the process is there."""
        return self._process.is_running()

    def running_for_s(self) -> float:
        """Seconds since the latest start."""
        return time.monotonic() - self._spawned_at

    def check_alive(self) -> None:
        """Raise Died with the last log lines unless it is there."""
        __tracebackhide__ = True
        self._process.check_alive()

    def log_text(self) -> str:
        """What it has logged since its latest start."""
        return self._process.log_text()

    def log_tail(self, lines: int = 15) -> list[str]:
        """The last lines of that."""
        return self._process.tail(lines)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Structured log lines since the latest start (JSON objects with a key `event`), of one name or all."""
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
        """Wait for a structured log line of that name; give the first of the latest start."""

        def check() -> dict[str, Any] | NotYet:
            found = self.events(event)
            return found[0] if found else NotYet(f"{len(self.events())} events logged, none of that name")

        return await until(check, f"the bot to log {event!r}", timeout_s=timeout_s, watch=[self])

    async def start_again(self) -> None:
        """Start it after `stop` or `kill`, with the same store; return when it is ready."""
        __tracebackhide__ = True
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        self.spawned_at_epoch_s = time.time()
        self._process.spawn()
        self._spawned_at = time.monotonic()
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
        except Died as died:
            raise StartFailed("the bot", died.status, log_path=self.log_path, tail=died.tail) from None
        except AssertionError as late:
            reasons = getattr(late, "reasons", ())
            problem = f"not ready after {scaled(limit_s):g} s: {reasons[-1][1] if reasons else 'no reason known'}"
            raise StartFailed("the bot", problem, log_path=self.log_path, tail=self.log_tail()) from None

    async def stop(self, timeout_s: float = 10.0) -> int | None:
        """Stop with SIGTERM, as an operator would; SIGKILL after `timeout_s`. Give the exit code."""
        return await self._process.stop(timeout_s)

    async def kill(self) -> int | None:
        """Kill with SIGKILL, as a crash would."""
        return await self._process.kill()

    async def restart(self) -> None:
        """Stop and start again; return when it is ready."""
        await self.stop()
        await self.start_again()

    def pause(self) -> None:
        """Freeze it with SIGSTOP."""
        self._process.pause()

    def resume(self) -> None:
        """Let a frozen bot go on."""
        self._process.resume()

    async def wait(self, timeout_s: float) -> int | None:
        """Wait for it to end by itself; None if it still runs after `timeout_s`."""
        return await self._process.wait(timeout_s)


def matrix_environment(server: RunningHomeserver, account: Account, folder: Path) -> dict[str, str]:
    """Give the variables that tell a bot its homeserver, its account and where its state goes."""
    return {
        "MATRIX_HOMESERVER": server.url,
        "MATRIX_USER_ID": account.user_id,
        "MATRIX_PASSWORD": account.password,
        "MATRIX_DB_PATH": str(folder / "lambda_matrix.db"),
        "MATRIX_STORE_PATH": str(folder / "matrix_store"),
    }


def bot_environment(own: Mapping[str, str], outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give a bot's whole environment: the outer one without its Matrix settings, this Python first on PATH, its own."""
    inherited = {name: value for name, value in outer.items() if not name.startswith("MATRIX_")}
    here = str(Path(sys.executable).parent)
    inherited["PATH"] = os.pathsep.join([here, outer.get("PATH", os.defpath)])
    filled = {name: Template(value).safe_substitute(own) for name, value in own.items()}
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
