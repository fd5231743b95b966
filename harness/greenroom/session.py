"""One test run: its choice of homeserver, its folder, and the factories behind the fixtures."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.bot_process import OUR_BOT, OUR_READY_LINE, BotSettings, RunningBot, is_ours, matrix_environment
from greenroom.bot_ready import Ready, first_sync, log_line
from greenroom.configuration.files import fill_files, write_files
from greenroom.configuration.making import Made, make_variables
from greenroom.configuration.variables import mentions
from greenroom.errors import Misuse
from greenroom.evidence.log_clock import LogClock
from greenroom.evidence.record import Record
from greenroom.faults import FaultProxy, fault_proxy, with_manners
from greenroom.faults.mannered import lacks
from greenroom.homeserver import SERVER_NAME, Homeserver, HomeserverSettings, RunningHomeserver
from greenroom.homeserver.appservice import Appservice
from greenroom.homeserver.choose import Choice, choose, make_homeserver
from greenroom.homeserver.container.labels import ContainerEngines, sweep_machine
from greenroom.homeserver.container.warm import end_idle_containers
from greenroom.homeserver.interface import Backend, Capability, require
from greenroom.homeserver.warm.client import end_idle_parent
from greenroom.hosted import FILE as REGISTRATION
from greenroom.hosted import Hosted, hosted
from greenroom.people.accounts import Account, check_room_version, register, unique_localpart
from greenroom.people.person import Person, person_on
from greenroom.processes import runs
from greenroom.seed import Seeded, seed
from greenroom.seed.blueprint import Blueprint
from greenroom.snapshots.cache import SnapshotCache
from greenroom.snapshots.seeded import Filled, Nursery

if TYPE_CHECKING:
    from greenroom.homeserver.federation import FederationProxy


@dataclass(repr=False)
class Session:
    """A run with its choice of homeserver. It works without pytest too."""

    choice: Choice
    run: runs.RecordedRun
    started: Counter[str] = field(default_factory=Counter)
    first_start_s: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)  # of that first start, in seconds
    slow_because: set[str] = field(default_factory=set)
    swept: list[str] = field(default_factory=list)
    kept: bool = False
    _servers: dict[RunningHomeserver, HomeserverSettings] = field(default_factory=dict)
    _clock: LogClock = field(default_factory=LogClock)

    def __post_init__(self) -> None:
        self.record = Record("session", clock=self._clock, happenings=self.run.happenings)

    @classmethod
    def begin(cls, kind: str = "synapse", backend: str = "auto") -> Session:
        """Choose the homeserver, tidy up after dead runs, and begin a new one."""
        choice = choose(kind, backend)
        swept = runs.sweep(ContainerEngines())
        if choice.backend is Backend.CONTAINER:
            swept += sweep_machine()
        return cls(choice, runs.begin(), swept=swept)

    def begin_record(self, name: str) -> None:
        """Begin the record of one test. Homeservers that run already are part of it."""
        self._clock.forget()
        self.record = Record(name, clock=self._clock, happenings=self.run.happenings)
        for server, settings in self._servers.items():
            self.record.note_server(server, settings)

    @contextmanager
    def part(self, name: str) -> Iterator[Session]:
        """Split off a part with a record of its own, for scenarios that run at the same time. The run is shared."""
        part = Session(self.choice, self.run)
        part.begin_record(name)
        try:
            yield part
        finally:
            part._clock.close()

    @asynccontextmanager
    async def homeserver(
        self,
        settings: HomeserverSettings,
        *,
        blueprint: Blueprint | None = None,
        federate_with: Sequence[RunningHomeserver] = (),
        choice: Choice | None = None,
    ) -> AsyncIterator[RunningHomeserver]:
        """Run a homeserver, in a folder of its own, for the length of an `async with`.

        With a `blueprint` it is seeded before it starts: its data comes from a snapshot, which is made first where
        there is none. Its `seeded` has the accounts and rooms.

        It federates with the homeservers in `federate_with`, and then has a name that they do not know yet. `choice`:
        another one than the session's. Raises CapabilityMissing if this one or one of those cannot federate, Misuse if
        `settings` name it like one of them.
        """
        began = time.monotonic()
        choice = choice or self.choice
        if federate_with and not choice.federates:
            require([Capability.FEDERATION], choice.kind.missing, f"homeserver ({choice.kind}, {choice.backend})")
        settings = replace(settings, server_name=new_name(settings.server_name, federate_with))
        async with AsyncExitStack() as stack:
            proxy = stack.enter_context(self._way_to_peers() if choice.federates else nullcontext())
            if proxy is not None:
                settings = replace(settings, federation=proxy.settings)
            if settings.rate_limits != "none":
                homeserver = f"homeserver ({choice.kind}, {choice.backend})"
                require([Capability.RATE_LIMITS], lacks(settings.manners), homeserver)
            unstarted = make_homeserver(choice, self.run.new_folder("homeserver"), settings, run=self.run)
            filled = await self._filled(choice, unstarted, blueprint) if blueprint else None
            began = time.monotonic() if filled else began
            server = await stack.enter_async_context(unstarted.running())
            if blueprint:
                server.note_seeded(await self._seeded(server, blueprint, filled))
            if proxy is not None:
                server.join_federation(proxy)
            stack.enter_context(server.federated_with(*federate_with))
            server = await stack.enter_async_context(with_manners(server, settings.manners))
            if self.first_start_s is None:
                self.first_start_s = time.monotonic() - began
                self.phases = server.phases
            self.started["homeservers"] += 1
            if server.slow_because:
                self.slow_because.add(server.slow_because)
            self.record.note_server(server, settings)
            if settings.room_version is not None:
                await check_room_version(server, settings.room_version)
            self._servers[server] = settings
            try:
                yield server
            finally:
                del self._servers[server]

    async def _filled(self, choice: Choice, unstarted: Homeserver, blueprint: Blueprint) -> Filled | None:
        log = self.run.new_folder("nursery") / "homeserver.log"
        nursery = Nursery(choice, self.run, log, SnapshotCache.chosen())
        return await nursery.fill(unstarted.folder, unstarted.settings, blueprint)

    async def _seeded(self, server: RunningHomeserver, blueprint: Blueprint, filled: Filled | None) -> Seeded:
        self.started["restored" if filled and filled.made is None else "seeded"] += 1
        seeded = filled.seeded(server, blueprint) if filled else await seed(server, blueprint)
        for account in seeded.people:
            self.record.note_account(account)
        return seeded

    def server_of(self, account: Account) -> RunningHomeserver | None:
        """Return the homeserver of this run whose blueprint has made this very account; None if there is none.

        Two homeservers from one snapshot have equal accounts, so equality does not tell.
        """
        for server in self._servers:
            if server.is_seeded and any(one is account for one in server.seeded.people):
                return server
        return None

    def settings_of(self, server: RunningHomeserver) -> HomeserverSettings:
        """Return the settings of a homeserver of this run, and the default ones for somebody else's."""
        return self._servers.get(server, HomeserverSettings())

    def _way_to_peers(self) -> AbstractContextManager[FederationProxy]:
        from greenroom.homeserver.federation import federation_proxy

        return federation_proxy(self.run.new_folder("federation"))

    def report(self) -> list[str]:
        """Return what this run used, as lines for a person."""
        choice = self.choice
        took = f", the first ready after {self.first_start_s:.2f} s" if self.first_start_s is not None else ""
        if self.phases:
            took += f" ({', '.join(f'{name} {seconds:.2f} s' for name, seconds in self.phases.items())})"
        count = self.started["homeservers"]
        lines = [f"{choice.kind} on backend {choice.backend} ({choice.why}): {count} started{took}"]
        lines += [f"homeservers were started plainly, not by a warm parent: {why}" for why in sorted(self.slow_because)]
        if seeded := self.started["seeded"] + self.started["restored"]:
            lines.append(f"{seeded} of them from a blueprint: {self.started['restored']} restored from a snapshot")
        if self.swept:
            lines.append(f"swept {len(self.swept)} earlier run(s) that had been killed")
        if self.kept:
            lines.append(f"kept for a look: {self.run.folder} (`greenroom down --all` removes it)")
        return lines

    def close(self, *, keep: bool = False) -> None:
        """End every process of this run and remove its folder."""
        self.kept = keep
        self._clock.close()
        self.run.close(ContainerEngines(), keep=keep)
        if runs.named_head() is None:  # nobody shares it
            end_shared()


def end_shared() -> None:
    """End the warm parents that the runs of this process have shared, here and in containers, if they are idle."""
    head = runs.own_head()
    end_idle_parent(head)
    end_idle_containers(head)


def new_name(wanted: str, peers: Sequence[RunningHomeserver]) -> str:
    """Return the name of a homeserver that will federate with `peers`: `wanted`, or if they know that, hs2, hs3, ….

    Raises Misuse if two of them have one name, or if they know a `wanted` name that is not the default.
    """
    names = Counter(peer.server_name for peer in peers)
    if twice := next((name for name, times in names.items() if times > 1), None):
        raise Misuse(f"two of the homeservers to federate with are called {twice}; give one another `server_name`")
    known = names.keys() | {name for peer in peers if peer.federation for name in peer.federation.known}
    if wanted not in known:
        return wanted
    if wanted != SERVER_NAME:
        raise Misuse(f"there is a homeserver {wanted} already; give this one another `server_name`")
    return next(name for n in itertools.count(2) if (name := f"hs{n}.{SERVER_NAME}") not in known)


def is_required(backend: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether GREENROOM_REQUIRE names a backend: then a test fails where that is missing, and is not skipped."""
    return backend in (name.strip() for name in environ.get("GREENROOM_REQUIRE", "").split(","))


@dataclass(repr=False)
class PersonFactory:
    """Makes people for one test. Closing `stack` closes them."""

    session: Session
    stack: AsyncExitStack
    test_name: str
    homeserver: RunningHomeserver

    async def __call__(
        self,
        name: str | Account,
        *,
        server: RunningHomeserver | None = None,
        encrypted: bool = False,
        admin: bool = False,
    ) -> Person:
        """Register a new account whose localpart begins with `name`, and log that person in.

        An account, for instance `server.seeded.account("alice")`, is logged in as it is, on a new device.
        """
        if isinstance(name, Account):
            where, account = server or self.session.server_of(name) or self.homeserver, name
        else:
            where = server or self.homeserver
            account = await register(where, unique_localpart(name, self.test_name), admin=admin)
        self.session.record.note_account(account)
        store = self.session.run.new_folder("person") if encrypted else None
        return await self._entered(person_on(where, account, store=store))

    async def second_device(self, person: Person) -> Person:
        """Log a person in once more, on a new device with keys of its own, which the person's identity signs."""
        account = replace(person.account, access_token="", device_id="")
        store = self.session.run.new_folder("person")
        return await self._entered(person_on(person.server, account, store=store, identity=person.identity))

    async def _entered(self, logged_in: AbstractAsyncContextManager[Person]) -> Person:
        person = await self.stack.enter_async_context(logged_in)
        self.session.record.seen.append(person.seen)
        return person


@dataclass(repr=False)
class BotFactory:
    """Makes bots for one test. Closing `stack` stops them."""

    session: Session
    stack: AsyncExitStack
    test_name: str
    homeserver: RunningHomeserver

    async def __call__(
        self,
        command: str | Sequence[str] = OUR_BOT,
        *,
        env: Mapping[str, str] | None = None,
        ready: Ready | None = None,
        server: RunningHomeserver | None = None,
        account: Account | None = None,
        through: FaultProxy | None = None,
        config: Mapping[str, str] | None = None,
        own_folder: bool = False,
        appservice: bool | Appservice | Hosted = False,
        **settings: Any,
    ) -> RunningBot:
        """Register a bot account (unless `account` is given), start the bot, and return when the bot is ready.

        With `appservice` the bot is an application service. It gets a homeserver of its own with the settings of the
        shared one, which knows it from the start (the bot's `server`; its people need `server=`), and a proxy for what
        that homeserver sends (the bot's `deliveries`). True stands for a registration made by the harness.

        With `through` the bot reaches its homeserver only through that proxy. A bot other than the reference bot always
        gets a proxy, which records its requests; without `ready` such a bot is ready when it listens (`first_sync`).
        `config` maps paths in the bot's folder to texts, in which `${MATRIX_HOMESERVER}` and the other VARIABLES are
        filled in. With `own_folder` the bot runs in that folder. Raises StartFailed if the bot does not become ready,
        Misuse for a variable that does not exist. The other arguments are fields of BotSettings.
        """
        __tracebackhide__ = True
        service = None
        if isinstance(appservice, Hosted):
            service = appservice
        elif appservice:
            if server or through or account:
                raise Misuse("an application service has a server, an account and a proxy of its own: leave them out")
            service = await self._hosted(appservice)
        account = service.account if service else account
        known = self.session.server_of(account) if account else None
        where = service.server if service else server or (through.server if through else known or self.homeserver)
        account = account or await register(where, unique_localpart("bot", self.test_name))
        folder = self.session.run.new_folder("bot")
        own_env = matrix_environment(where, account, folder)
        if through is None and not is_ours(command):
            through = await self._recorder(where, service)
        if through is not None:
            own_env["MATRIX_HOMESERVER"] = through.url
        if ready is None and service is not None:
            ready = service.listens
        elif ready is None:
            ready = log_line(OUR_READY_LINE) if is_ours(command) or through is None else first_sync(through)
        if own_folder:
            settings["cwd"] = folder
        own_env |= env or {}
        made = await self._variables(where, account, folder, mentions(command, own_env, config or {}))
        if service is not None:
            made.values |= service.variables(folder)
            whole = service.own_registration().replace("$", "$$")  # a regular expression may end with one
            config = {REGISTRATION: whole, **(config or {})}
            self.session.record.secrets |= {service.service.as_token, service.service.hs_token}
        prepared = BotSettings(
            command=command,
            folder=folder,
            env=own_env,
            ready=ready,
            variables=made.values,
            server=where,
            faults=through,
            deliveries=service.deliveries if service else None,
            **settings,
        )
        files = fill_files(config or {}, {**prepared.environment(), **made.values})
        write_files(folder, files)
        program = prepared.as_command()
        self.session.record.note_bot(account, program.log_path, prepared.env, files)
        self.session.record.note_program(account.localpart, program.argv, program.env)
        return await self.stack.enter_async_context(prepared.running(self.session.run))

    async def _variables(self, server: RunningHomeserver, account: Account, folder: Path, wanted: Set[str]) -> Made:
        admin = unique_localpart("admin", self.test_name)
        made = await make_variables(wanted, server, account, folder, admin=admin)
        for used in made.accounts:
            self.session.record.note_account(used)
        return made

    async def _hosted(self, appservice: Appservice | bool) -> Hosted:
        known = Appservice("bot", "bot", users=("@bot_.*",)) if isinstance(appservice, bool) else appservice
        settings = replace(self.session.settings_of(self.homeserver), port=0)
        return await self.stack.enter_async_context(hosted(self.session.homeserver, known, settings))

    async def _recorder(self, server: RunningHomeserver, service: Hosted | None = None) -> FaultProxy:
        transcript = service.deliveries.transcript if service else None  # both directions in one
        proxy = await self.stack.enter_async_context(fault_proxy(server, transcript=transcript))
        self.session.record.transcripts.append(proxy.transcript)
        return proxy
