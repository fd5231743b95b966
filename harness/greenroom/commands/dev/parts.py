"""The parts of a dev environment, homeserver and bot: started, stopped, and noted in `dev.json`."""

from __future__ import annotations

import asyncio
import re
import shlex
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from greenroom.bot_process import OUR_BOT, OUR_READY_LINE, BotSettings, RunningBot, bot_environment, split_command
from greenroom.bot_ready import either, log_line, running_for
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.snapshots.swap import check_finished
from greenroom.errors import HarnessError, Misuse, PortTaken
from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.homeserver.choose import Choice, make_homeserver
from greenroom.homeserver.container.labels import ContainerEngines
from greenroom.homeserver.interface import Backend
from greenroom.homeserver.kind import find_kind
from greenroom.homeserver.settings import replace_text
from greenroom.processes.runs import RecordedRun
from greenroom.spelling import command

if TYPE_CHECKING:
    from greenroom.faults import FaultProxy

HOMESERVER, BOT = "homeserver", "bot"
PARTS = (HOMESERVER, BOT)  # in the order of their start
START, STOP, RESTART = "start", "stop", "restart"
STEADY_S = 1.5  # a bot that is not ours counts as ready after running for so long
OUR_COMMAND = "python -m greenroom_bot"  # as `dev.json` names it


def parse_part(name: str) -> tuple[str, ...]:
    """Return the parts that a command line names; none named means all. Raises Misuse."""
    if name and name not in PARTS:
        raise Misuse(f"no such part: {name!r}; there are {' and '.join(PARTS)}")
    return (name,) if name else PARTS


@dataclass
class Parts:
    """The parts of one dev environment. `server` and `bot` are those that this process has started, while they run.

    A part that another process has started is found by the run's manifest. `state` is what `dev.json` says; a stopped
    part has no pid (or container) and no `since` there.

    With `through`, the bot reaches the homeserver by that proxy. `dev.json` and `dev.env` keep the homeserver's own
    URL, so that the commands of another terminal meet no faults.
    """

    folder: DevFolder
    run: RecordedRun
    outlive_us: bool
    state: dict[str, Any]
    environment: Mapping[str, str]  # the bot's MATRIX_* variables
    server: RunningHomeserver | None = None
    bot: RunningBot | None = None
    through: FaultProxy | None = None
    bot_starts: int = 0
    ended: dict[str, str] = field(default_factory=dict)  # how a part ended that was not stopped, until it runs again

    async def start_homeserver(self, choice: Choice, port: int) -> RunningHomeserver:
        """Start the homeserver on its folder; 0 is any free port.

        Raises StartFailed, PortTaken, or HarnessError if data of an earlier start is gone.
        """
        self.folder.check_data(choice.kind.database)
        since = _now()
        unstarted = make_homeserver(
            choice,
            self.folder.homeserver,
            HomeserverSettings(port=port),
            log_path=self.folder.log(HOMESERVER),
            run=self.run,
            dies_with_parent=not self.outlive_us,
        )
        self.server = server = await unstarted.start()
        replace_text(self.folder.homeserver / "port", server.url.rpartition(":")[2])
        self.state[HOMESERVER] = {**server.describe(), "since": since}
        if self.through is not None:
            self.through.server = server
        return server

    async def start_bot(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> RunningBot:
        """Start the bot and wait until it is ready; an empty `argv` is the reference bot. Raises StartFailed."""
        bot = self.spawn_bot(argv, environment)
        try:
            await bot.until_ready()
        except BaseException:
            self.forget(BOT)
            raise
        return bot

    def spawn_bot(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> RunningBot:
        """Start the bot without waiting for it. Raises StartFailed if it cannot be run."""
        settings = BotSettings(
            command=argv or OUR_BOT,
            folder=self.folder.bot,
            env=self._environment_through(environment),
            cwd=self.folder.project,
            ready=either(log_line(OUR_READY_LINE), running_for(STEADY_S)) if argv else log_line(OUR_READY_LINE),
            log_path=self.folder.log(BOT),
            dies_with_parent=not self.outlive_us,
        )
        since = _now()
        self.bot = bot = settings.spawn(self.run)
        self.bot_starts += 1
        whole = bot_environment(environment)
        self.environment = {name: value for name, value in whole.items() if name.startswith("MATRIX_")}
        self.state[BOT] = {
            "user_id": bot.user_id,
            "pid": bot.pid,
            "log": str(bot.log_path),
            "command": shlex.join(argv) if argv else OUR_COMMAND,
            "since": since,
        }
        return bot

    def _environment_through(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the bot's variables with the proxy's URL, if there is one, in place of the homeserver's."""
        if self.through is None:
            return dict(environment)
        return with_url(environment, self.state[HOMESERVER]["url"], self.through.url)

    def save(self) -> None:
        """Write `dev.json` and `dev.env`. What `seed` has noted meanwhile stays."""
        with suppress(HarnessError):
            noted = self.folder.state()
            self.state |= {key: noted[key] for key in ("people", "seed") if key in noted}
        self.folder.write_state(self.state, self.environment)

    async def act(self, action: str, parts: tuple[str, ...]) -> AsyncIterator[str]:
        """Start, stop or restart parts, and yield a line about each. `dev.json` is right after each one."""
        if action in (STOP, RESTART):
            for part in reversed(parts):
                yield await self._stop(part)
        if action in (START, RESTART):
            for part in parts:
                yield await self._start(part)

    async def _stop(self, part: str) -> str:
        if self.living(part) is None:
            self.forget(part)
            self.save()
            return f"{part}: not running"
        running = self.server if part == HOMESERVER else self.bot
        if running is None:
            await asyncio.to_thread(self._end_recorded, part)
        elif isinstance(running, RunningBot):
            await running.stop()
        else:
            await running.close()
        self.forget(part)
        self.save()
        return f"{part}: stopped"

    async def _start(self, part: str) -> str:
        check_finished(self.folder)
        if handle := self.living(part):
            return f"{part}: runs already, {handle}"
        began = time.monotonic()
        self.forget(part)
        try:
            if part == HOMESERVER:
                await self._start_homeserver_again()
            else:
                await self._start_bot_again()
        finally:
            self.save()
        return f"{part}: running again after {time.monotonic() - began:.1f} s, {self.living(part)}"

    async def _start_homeserver_again(self) -> None:
        before = self.state[HOMESERVER]
        await asyncio.to_thread(self._end_recorded, HOMESERVER)  # a container that has ended still holds the data
        choice = Choice(find_kind(before["kind"]), Backend(before["backend"]), "as before")
        try:
            await self.start_homeserver(choice, int(before["url"].rpartition(":")[2]))
        except PortTaken as error:  # `start` has no --port
            raise HarnessError(
                f"the homeserver's port {error.port} is taken by another program; end that one, or take another port: "
                f"{command('down')}, then {command('dev')}"
            ) from None

    async def _start_bot_again(self) -> None:
        if self.living(HOMESERVER) is None:
            raise HarnessError(f"the bot needs the homeserver, which is stopped; try: {command('start homeserver')}")
        said = self.state[BOT]["command"]
        await self.start_bot(() if said == OUR_COMMAND else tuple(split_command(said)), self.environment)

    async def running(self) -> tuple[str, ...]:
        """Return the parts that run, in the order of their start."""
        return tuple([part for part in PARTS if await asyncio.to_thread(self.living, part)])

    async def bring_home(self) -> None:
        """End what is left of a stopped homeserver: a container that has ended by itself still holds the data."""
        await asyncio.to_thread(self._end_recorded, HOMESERVER)

    def read_again(self) -> None:
        """Take over what `dev.json` and `dev.env` say now. Raises HarnessError."""
        self.state, self.environment = self.folder.state(), self.folder.recorded_environment()

    def living(self, part: str) -> str | None:
        """Return how a running part is found, `pid 7` or `container abc`; None if it does not run."""
        noted = self.state[part]
        if container := noted.get("container"):
            return f"container {container}" if self._container_runs(container) else None
        pids = [identity.pid for identity in self.run.living(part)]
        return f"pid {pids[-1]}" if pids else None

    def _container_runs(self, container: str) -> bool:
        urls = sorted(self.run.engines)
        return any(container in ContainerEngines().running(url, self.run.run_id) for url in urls)

    def _end_recorded(self, part: str) -> None:
        self.run.end_named(part)
        if part == HOMESERVER:
            for url in sorted(self.run.engines):
                ContainerEngines().end_containers(url, self.run.run_id, rescue=True)

    def forget(self, part: str) -> None:
        """Note that a part does not run."""
        if part == HOMESERVER:
            self.server = None
        else:
            self.bot = None
        self.ended.pop(part, None)
        gone = {key: None for key in ("pid", "container", "since") if key in self.state[part]}
        self.state[part] = {**self.state[part], **gone}

    async def close(self) -> None:
        """Stop what this process has started, the bot first."""
        if self.bot is not None:
            await self.bot.stop()
        if self.through is not None:
            await asyncio.to_thread(self.through.close)
        if self.server is not None:
            await self.server.close()


def with_url(environment: Mapping[str, str], url: str, other: str) -> dict[str, str]:
    """Return variables with another URL in place of `url`, wherever it stands in them."""
    whole = re.compile(re.escape(url) + r"(?!\d)")  # the port of a longer number is another one
    return {name: whole.sub(other, value) for name, value in environment.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
