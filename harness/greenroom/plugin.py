"""The pytest plugin: a real homeserver, people and a bot as fixtures.

In a project that only has the package installed it does nothing: no import, no file, no process before a fixture is
used. Each fixture is a thin wrapper of a context manager that works without pytest.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from greenroom.faults import FaultProxy
    from greenroom.homeserver import HomeserverSettings, RunningHomeserver
    from greenroom.seed.blueprint import Blueprint
    from greenroom.session import BotFactory, PersonFactory, Session

SESSION = pytest.StashKey["Session"]()
NOTES = pytest.StashKey[list[str]]()
BUNDLES = pytest.StashKey[Path]()
CURRENT = pytest.StashKey[str]()
IS_HEAD = pytest.StashKey[bool]()
WORKER_NOTES = "greenroom"
KIND, BACKEND, FAILURES = "greenroom_homeserver", "greenroom_backend", "greenroom_failures"
ROOM_VERSION, MANNERS = "greenroom_room_version", "greenroom_manners"
DEFAULTS = {KIND: "synapse", BACKEND: "auto", FAILURES: "", ROOM_VERSION: "", MANNERS: ""}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options. Each setting can stand in the configuration file too; the command line wins."""
    group = parser.getgroup("greenroom", "a real Matrix homeserver for bot tests")
    for name, metavar, meaning in (
        (KIND, "KIND", "kind of homeserver (default: synapse)"),
        (BACKEND, "HOW", "auto (default), container or process"),
        (ROOM_VERSION, "N", "version of new rooms (default: the homeserver's own)"),
        (MANNERS, "LIST", "manners of another homeserver, for instance conduit or strict (default: none)"),
        (FAILURES, "DIR", "folder for the bundles of failed tests (default: in pytest's base temporary folder)"),
    ):
        group.addoption(option(name), metavar=metavar, help=meaning)
        parser.addini(name, f"{meaning}; {option(name)} wins", default=DEFAULTS[name])
    group.addoption(
        "--keep-greenroom",
        action="store_true",
        help="keep logs and databases of this run and a bundle of every test, and print where they are",
    )


def option(name: str) -> str:
    """Return the command-line option of a setting."""
    return f"--{name.replace('_', '-')}"


def setting(config: pytest.Config, name: str) -> str:
    """Return a setting: from the command line, else from the configuration file, else its default."""
    return str(config.getoption(name) or config.getini(name))


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and refuse unknown homeservers and backends before any test runs."""
    config.addinivalue_line("markers", "e2e: needs a real homeserver")
    config.addinivalue_line("markers", "container: needs a container engine")
    config.addinivalue_line(
        "markers", "scenarios(promises, only=()): run the test once per scenario with the bot of that promises file"
    )
    config.addinivalue_line(
        "markers", 'blueprint(name, **values): `fresh_homeserver` is seeded, e.g. blueprint("large", rooms=50)'
    )
    config.stash[NOTES] = []
    for name in (KIND, BACKEND, ROOM_VERSION, MANNERS):
        if setting(config, name) != DEFAULTS[name]:
            _refuse_unknown(config, name)


def _refuse_unknown(config: pytest.Config, name: str) -> None:
    from greenroom.errors import Misuse
    from greenroom.faults.manners import parse_manners
    from greenroom.homeserver.choose import parse_backend
    from greenroom.homeserver.kind import find_kind

    def check_version(version: str) -> None:
        find_kind(setting(config, KIND)).check_room_version(version)

    parse = {KIND: find_kind, BACKEND: parse_backend, ROOM_VERSION: check_version, MANNERS: parse_manners}[name]
    try:
        parse(setting(config, name))
    except Misuse as error:
        source = option(name) if config.getoption(name) else f"{name} in {config.inipath or 'the configuration'}"
        raise pytest.UsageError(f"{source}: {error}") from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse two different `homeserver_settings`: the shared homeserver is started once, so one would be ignored."""
    where = set()
    for item in items:
        fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
        shared, settings = fixtures.get("homeserver"), fixtures.get("homeserver_settings")
        if shared and settings and shared[-1].func.__module__ == __name__:
            where.add(settings[-1].baseid or "the default")
    if len(where) > 1:
        raise pytest.UsageError(
            f"homeserver_settings differ between {' and '.join(sorted(where))}, but all tests share one homeserver. "
            "Try: override the fixture `homeserver` in the module that needs another (docs/testing-your-bot.md)"
        )


@pytest.fixture(scope="session")
def greenroom(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The test run: its folder, its choice of homeserver, everything it has started.

    If the homeserver cannot run here, the tests are skipped and the report says why. They fail instead if
    GREENROOM_REQUIRE (a list like "container,process") names the backend.
    """
    from greenroom.errors import Unavailable
    from greenroom.session import Session, is_required

    config = request.config
    if hasattr(config, "workerinput"):
        from greenroom.processes.launcher import die_with_parent

        if not die_with_parent(os.getppid()):  # the controller of `pytest -n` has ended
            os.kill(os.getpid(), signal.SIGKILL)
    _be_head(config)
    kind, backend = setting(config, KIND), setting(config, BACKEND)
    try:
        session = Session.begin(kind, backend)
    except Unavailable as error:
        config.stash[NOTES].append(f"{kind} on backend {backend}: not run, {error}")
        if is_required(backend):
            raise
        pytest.skip(str(error))
    config.stash[SESSION] = session
    config.stash[BUNDLES] = _bundles(config) or tmp_path_factory.getbasetemp() / "greenroom-failures"
    session.begin_record(config.stash.get(CURRENT, "session"))
    yield session
    session.close(keep=config.getoption("--keep-greenroom"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: object) -> None:
    """Let the workers of `pytest -n` share what is costly to start (a hook of pytest-xdist, before they start)."""
    _be_head(config)


def _be_head(config: pytest.Config) -> None:
    """Let the commands that tests run share what is costly to start, unless this pytest shares it itself."""
    from greenroom.processes.runs import be_head

    config.stash[IS_HEAD] = be_head()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what was shared."""
    if config.stash.get(IS_HEAD, False):
        from greenroom.processes.runs import stop_being_head

        if stop_being_head():
            from greenroom.session import end_shared

            end_shared()


def _bundles(config: pytest.Config) -> Path | None:
    """Return the folder for bundles: relative to where pytest was called, or to the project if its file names it."""
    if chosen := config.getoption(FAILURES):
        return Path(config.invocation_params.dir, chosen)
    named = config.getini(FAILURES)
    return config.rootpath / named if named else None


@pytest.fixture(scope="session")
def homeserver_settings() -> HomeserverSettings:
    """Settings of the shared homeserver. Override it in the topmost conftest to change them for all tests."""
    from greenroom.homeserver import HomeserverSettings

    return HomeserverSettings()


def _as_asked(settings: HomeserverSettings, config: pytest.Config) -> HomeserverSettings:
    """Return settings with a room version and manners: their own, else those of the options."""
    from greenroom.faults.manners import parse_manners

    version = settings.room_version or setting(config, ROOM_VERSION) or None
    manners = settings.manners or parse_manners(setting(config, MANNERS))
    return replace(settings, room_version=version, manners=manners)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def homeserver(
    request: pytest.FixtureRequest, greenroom: Session, homeserver_settings: HomeserverSettings
) -> AsyncIterator[RunningHomeserver]:
    """One homeserver for the whole session, every rate limit lifted. All tests share it; do not stop it."""
    async with greenroom.homeserver(_as_asked(homeserver_settings, request.config)) as server:
        yield server


@pytest.fixture
def _homeserver(request: pytest.FixtureRequest, homeserver: RunningHomeserver) -> RunningHomeserver:
    """The homeserver, which a project may have overridden, for the fixtures that live on it."""
    from greenroom.shadows import refuse_homeserver

    refuse_homeserver(request, homeserver)
    return homeserver


@pytest_asyncio.fixture
async def fresh_homeserver(request: pytest.FixtureRequest, greenroom: Session) -> AsyncIterator[Any]:
    """A factory of homeservers that a test may stop, kill or limit: `await fresh_homeserver()`.

    It takes the fields of HomeserverSettings, for instance `rate_limits="default"`, and `federate_with`: a homeserver
    or a list of them, with which the new one federates. With `blueprint`, a name or a path beside the test's file, it
    is seeded; `@pytest.mark.blueprint("qa")` on the test says so for all of them.
    """
    from greenroom.homeserver import HomeserverSettings, RunningHomeserver

    marked = _marked_blueprint(request)

    async with AsyncExitStack() as stack:

        async def make(
            *,
            federate_with: RunningHomeserver | Sequence[RunningHomeserver] = (),
            blueprint: str | Blueprint | None = None,
            **settings: Any,
        ) -> RunningHomeserver:
            chosen = _as_asked(HomeserverSettings(**settings), request.config)
            peers = [federate_with] if isinstance(federate_with, RunningHomeserver) else federate_with
            wanted = _blueprint(request, blueprint) if isinstance(blueprint, str) else blueprint
            start = greenroom.homeserver(chosen, blueprint=wanted or marked, federate_with=peers)
            return await stack.enter_async_context(start)

        yield make


def _marked_blueprint(request: pytest.FixtureRequest) -> Blueprint | None:
    """Return the blueprint of the marker `blueprint` on the test, or None."""
    marker = request.node.get_closest_marker("blueprint")
    if marker is None:
        return None
    if len(marker.args) != 1:
        raise pytest.UsageError('the marker `blueprint` takes one name, e.g. @pytest.mark.blueprint("large", rooms=50)')
    return _blueprint(request, marker.args[0], marker.kwargs)


def _blueprint(request: pytest.FixtureRequest, name: str, values: Mapping[str, int] | None = None) -> Blueprint:
    """Return a packaged blueprint, or one whose path is relative to the test's file. Raises BlueprintError."""
    from greenroom.seed.load import is_path, load_blueprint

    return load_blueprint(str(request.path.parent / name) if is_path(name) else name, values)


@pytest_asyncio.fixture
async def greenroom_person(
    request: pytest.FixtureRequest, greenroom: Session, _homeserver: RunningHomeserver
) -> AsyncIterator[PersonFactory]:
    """The fixture `person`, for a project that has a `person` of its own."""
    from greenroom.session import PersonFactory

    async with AsyncExitStack() as stack:
        yield PersonFactory(greenroom, stack, request.node.name, _homeserver)


@pytest.fixture
def person(greenroom_person: PersonFactory) -> PersonFactory:
    """A factory of people for one test: `alice = await person("alice")`, a new account, logged in.

    They live on `homeserver`, or on another one: `await person("carol", server=other)`. A seeded account is logged in
    where it lives: `await person(server.seeded.account("alice"))`.
    """
    return greenroom_person


@pytest_asyncio.fixture
async def greenroom_bot(
    request: pytest.FixtureRequest, greenroom: Session, _homeserver: RunningHomeserver
) -> AsyncIterator[BotFactory]:
    """The fixture `bot`, for a project that has a `bot` of its own."""
    from greenroom.session import BotFactory

    async with AsyncExitStack() as stack:
        yield BotFactory(greenroom, stack, request.node.name, _homeserver)


@pytest.fixture
def bot(greenroom_bot: BotFactory) -> BotFactory:
    """A factory of bots for one test: `await bot("python my_bot.py")`; `await bot()` is the reference bot.

    The bot has a new account and a folder of its own, lives on `homeserver` or on another `server=`, and is stopped at
    the end of the test. It is ready when it listens; `ready=` names another condition.
    """
    return greenroom_bot


@pytest_asyncio.fixture
async def greenroom_faults(greenroom: Session, _homeserver: RunningHomeserver) -> AsyncIterator[FaultProxy]:
    """The fixture `faults`, for a project that has a `faults` of its own."""
    from greenroom.faults import fault_proxy

    async with fault_proxy(_homeserver) as proxy:
        greenroom.record.transcripts.append(proxy.transcript)
        yield proxy


@pytest.fixture
def faults(greenroom_faults: FaultProxy) -> FaultProxy:
    """A proxy in front of `homeserver` that breaks what the test asks it to: `await bot(through=faults)`.

    Each test has its own, so no fault reaches the next test. In front of another homeserver:
    `async with greenroom.faults.fault_proxy(server) as faults`.
    """
    return greenroom_faults


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat a test that is marked `scenarios` for each scenario."""
    marker = metafunc.definition.get_closest_marker("scenarios")
    if marker is None or "scenario" not in metafunc.fixturenames:
        return
    from greenroom.errors import Misuse
    from greenroom.scenarios import load_promises, scenarios_for

    try:
        promises = load_promises(metafunc.definition.path.parent / marker.args[0])
        names = [scenario.name for scenario in scenarios_for(promises, marker.kwargs.get("only", ()))]
    except Misuse as error:
        raise pytest.Collector.CollectError(str(error)) from None
    metafunc.parametrize("scenario", [(promises, name) for name in names], ids=names, indirect=True)


@pytest.fixture
def scenario(
    request: pytest.FixtureRequest, greenroom: Session, _homeserver: RunningHomeserver
) -> Callable[[], Awaitable[None]]:
    """One scenario for the bot of a promises file: `@pytest.mark.scenarios("my_bot.yaml")`, then `await scenario()`.

    It raises AssertionError if the bot fails and HarnessError if there is no verdict. It skips what is not promised.
    """
    if not hasattr(request, "param"):
        raise pytest.UsageError('the fixture `scenario` needs @pytest.mark.scenarios("my_bot.yaml") on the test')
    from greenroom.scenarios import CATALOGUE, NOT_PROMISED, play

    promises, name = request.param

    async def run() -> None:
        if CATALOGUE[name].way_of(promises) in (None, NOT_PROMISED):
            pytest.skip(f"{promises.name} does not promise {name}")
        await play(greenroom, _homeserver, promises, CATALOGUE[name])

    return run


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Begin the record of a test. Skip it if one of its fixtures needs what its homeserver cannot do."""
    item.config.stash[CURRENT] = item.nodeid
    session = item.config.stash.get(SESSION, None)
    if session is not None:
        session.begin_record(item.nodeid)
    with _skipping():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Skip a test that needs what its homeserver cannot do and another kind or backend can."""
    with _skipping():
        yield


@contextmanager
def _skipping() -> Iterator[None]:
    """Skip the test if a capability is missing. The message names it, why it is missing, and what stands in for it."""
    try:
        yield
    except Exception as error:
        from greenroom.errors import CapabilityMissing

        if isinstance(error, CapabilityMissing):
            pytest.skip(str(error))
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the bundle of a failed test that used a homeserver, before anything is stopped; name it in the report."""
    report = yield
    if report.failed:
        from greenroom.shadows import notes

        for note in notes(item, call.excinfo.value if call.excinfo else None):
            report.sections.append(("greenroom", note))
    session = item.config.stash.get(SESSION, None)
    asked = item.config.getoption("--keep-greenroom") and call.when == "call"
    if session is not None and "greenroom" in getattr(item, "fixturenames", ()) and (report.failed or asked):
        from greenroom.evidence.bundle import name_kept_logs, write_bundle
        from greenroom.evidence.report.page import FILE

        error = call.excinfo.value if call.excinfo else None
        verdict = f"{report.when} failed" if report.failed else "passed"
        said = f"{verdict}\n\n{report.longreprtext or error or ''}"
        again = again_command(item)
        folder = write_bundle(
            item.config.stash[BUNDLES], session.record, said, error, again=again, passed=report.passed
        )
        name_kept_logs(report.longrepr, session.record, folder)
        told = f"failure bundle: {folder}\nrepeat just this: {again}" if report.failed else f"bundle: {folder}"
        told += f"\nlook at it: {folder / FILE}"
        report.sections.append(("greenroom", told))
    return report


def again_command(item: pytest.Item) -> str:
    """Return the command that runs just this test again, from where pytest was called, with the options given here."""
    file, separator, inside = item.nodeid.partition("::")
    where = os.path.relpath(item.config.rootpath / file, item.config.invocation_params.dir)
    given = [f"{option(name)}={value}" for name in DEFAULTS if (value := item.config.getoption(name))]
    return shlex.join(["pytest", f"{where}{separator}{inside}", *given])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Note what this process ran. A worker of `pytest -n` sends its notes to the controller."""
    config = session.config
    ours = config.stash.get(SESSION, None)
    if ours is not None:
        config.stash[NOTES] += ours.report()
    if hasattr(config, "workeroutput"):
        config.workeroutput[WORKER_NOTES] = config.stash[NOTES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Receive the notes of a worker (a hook of pytest-xdist)."""
    for line in getattr(node, "workeroutput", {}).get(WORKER_NOTES, ()):
        node.config.stash[NOTES].append(f"[{node.gateway.id}] {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print which homeservers ran, what was not available and why, and where kept files are."""
    notes = config.stash.get(NOTES, [])
    if notes:
        terminalreporter.section("greenroom")
        for line in notes:
            terminalreporter.write_line(line)
