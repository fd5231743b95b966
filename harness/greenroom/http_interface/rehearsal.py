"""What the HTTP interface acts on: people, bots, faults and the homeserver of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from greenroom.bot_process import RunningBot, check_program
from greenroom.bot_ready import first_sync
from greenroom.errors import Cause, Died, HarnessError
from greenroom.evidence.bundle import write_bundle
from greenroom.faults import FaultProxy
from greenroom.faults.rules import Rule
from greenroom.homeserver.interface import Capability, RunningHomeserver
from greenroom.http_interface import models
from greenroom.http_interface.models import State
from greenroom.people.accounts import Account, register
from greenroom.session import BotFactory, Session

# Action -> what it needs, in which states it is possible, and the state afterwards.
HOMESERVER_ACTIONS: dict[str, tuple[Capability, tuple[State, ...], State]] = {
    "stop": (Capability.STOP, ("running",), "stopped"),
    "kill": (Capability.KILL, ("running", "paused"), "stopped"),
    "start": (Capability.STOP, ("stopped", "died"), "running"),
    "restart": (Capability.STOP, ("running",), "running"),
    "pause": (Capability.PAUSE, ("running",), "paused"),
    "resume": (Capability.PAUSE, ("paused",), "running"),
}


class Refused(HarnessError):
    """A request that cannot be carried out in this state. `status` is the answer's."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass
class KnownBot:
    """A bot, with what was asked of it last. One request at a time acts on it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    bot: RunningBot | None = None  # None until it was ready once
    wanted: bool = True


@dataclass
class Rehearsal:
    """One run's people, bots, faults and homeserver. Closing `stack` stops the bots."""

    session: Session
    stack: AsyncExitStack
    server: RunningHomeserver
    faults: FaultProxy  # in front of MATRIX_HOMESERVER
    clear: FaultProxy  # in front of GREENROOM_HOMESERVER: no fault is put in force here
    bundles: Path
    people: dict[str, Account] = field(default_factory=dict)
    bots: dict[str, KnownBot] = field(default_factory=dict)
    rules: list[tuple[str, Rule]] = field(default_factory=list)
    state: State = "running"
    _homeserver_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    # -- people

    def add_people(self, people: Iterable[Account]) -> None:
        """Note accounts that were made elsewhere."""
        self.people |= {person.localpart: person for person in people}

    async def make_person(self, wanted: models.NewPerson) -> Account:
        """Register an account. Raises MatrixRefused if its name is taken."""
        account = await register(self.server, wanted.name, wanted.password, admin=wanted.admin)
        self.session.record.note_account(account)
        self.people[account.localpart] = account
        return account

    # -- bots

    async def start_bot(self, wanted: models.NewBot) -> None:
        """Start a new bot and return when it is ready. Raises StartFailed; then its name is free again."""
        if wanted.name in self.bots:
            raise Refused(
                HTTPStatus.CONFLICT, f"there is a bot {wanted.name!r} already; POST /bots/{wanted.name}/start"
            )
        cwd = wanted.cwd.resolve()
        where: dict[str, Any] = {"own_folder": True} if wanted.own_folder else {"cwd": cwd}
        check_program(wanted.command, "the bot", cwd)
        known = self.bots[wanted.name] = KnownBot()
        try:
            account = self.people.get(wanted.name) or await self.make_person(models.NewPerson(name=wanted.name))
            start = BotFactory(self.session, self.stack, "", self.server)
            async with known.lock:
                known.bot = await start(
                    wanted.command,
                    env=wanted.env,
                    ready=wanted.ready.condition(first_sync(self.faults)),
                    account=account,
                    through=self.faults,
                    config=wanted.config,
                    ready_timeout_s=wanted.ready_timeout_s,
                    **where,
                )
        finally:
            if known.bot is None:
                del self.bots[wanted.name]

    def bot(self, name: str) -> RunningBot:
        """Return a bot. Raises Refused if there is none of that name."""
        return self._known(name)[1]

    def _known(self, name: str) -> tuple[KnownBot, RunningBot]:
        known = self.bots.get(name)
        if known is None or known.bot is None:
            started = ", ".join(one for one, other in self.bots.items() if other.bot) or "none"
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no bot {name!r}; started: {started}")
        return known, known.bot

    async def act_on_bot(self, name: str, action: str) -> None:
        """Stop, kill, start or restart a bot. Raises Refused if it runs already, or StartFailed."""
        known, bot = self._known(name)
        async with known.lock:
            if action == "start" and bot.is_running():
                raise Refused(HTTPStatus.CONFLICT, f"the bot {name!r} runs already")
            known.wanted = action in ("start", "restart")
            if action == "kill":
                await bot.kill()
            elif action in ("stop", "restart"):
                await bot.stop()
            if known.wanted:
                await bot.start_again()

    # -- faults

    def fault(self, number: int) -> tuple[str, Rule]:
        """Return a fault, by its number from 1 on. Raises Refused if there is none."""
        if not 0 < number <= len(self.rules):
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no fault {number}; there are {len(self.rules)}")
        return self.rules[number - 1]

    # -- the homeserver

    async def act_on_homeserver(self, action: str) -> None:
        """Stop, kill, start, restart, pause or resume the homeserver. Raises Refused where that makes no sense."""
        needs, possible, after = HOMESERVER_ACTIONS[action]
        self.server.require(needs)
        async with self._homeserver_lock:
            if (state := self.homeserver_state()) not in possible:
                raise Refused(HTTPStatus.CONFLICT, f"the homeserver is {state}, not {' or '.join(possible)}")
            act = self.server.start_again if action == "start" else getattr(self.server, action)
            self.state = "stopped" if action in ("start", "restart") else after  # while it is on its way
            await act()
            self.state = after

    def homeserver_state(self) -> State:
        """Return whether the homeserver runs, was stopped or paused by a request, or has died."""
        if self.state == "running":
            try:
                self.server.check_alive()
            except Died:
                return "died"
        return self.state

    # -- evidence

    def causes(self) -> list[Cause]:
        """Return why bots have ended that nobody has stopped."""
        return [
            cause
            for known in self.bots.values()
            if known.bot is not None and known.wanted and not known.bot.is_running()
            for cause in known.bot.causes(since=known.bot.spawned_at_epoch_s)
        ]

    def write_bundle(self, wanted: models.NewBundle) -> Path:
        """Write a bundle of everything up to now. Return its folder."""
        record = self.session.record
        before, record.name = record.name, wanted.name
        try:
            return write_bundle(self.bundles, record, wanted.reason, causes=self.causes()).resolve()
        finally:
            record.name = before
