"""The pytest plugin: a real homeserver, people and a bot as fixtures.

Harmless where the package is merely installed: nothing is imported, written or started until a fixture is used.
Everything here is a thin wrapper of a context manager that works without pytest.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from greenroom.faults import FaultProxy
    from greenroom.homeserver import HomeserverSettings, RunningHomeserver
    from greenroom.session import BotFactory, PersonFactory, Session

SESSION = pytest.StashKey["Session"]()
NOTES = pytest.StashKey[list[str]]()
BUNDLES = pytest.StashKey[Path]()
CURRENT = pytest.StashKey[str]()
WORKER_NOTES = "greenroom"
DEFAULT_KIND, DEFAULT_BACKEND = "synapse", "auto"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; the defaults are read from nowhere else."""
    group = parser.getgroup("greenroom", "a real Matrix homeserver for bot tests")
    group.addoption("--homeserver", default=DEFAULT_KIND, metavar="KIND", help="synapse (default) or conduit")
    group.addoption("--backend", default=DEFAULT_BACKEND, metavar="HOW", help="auto (default), container or process")
    group.addoption(
        "--keep-greenroom",
        action="store_true",
        help="keep logs and databases of this run for a look, and a bundle of every test; says where",
    )
    group.addoption(
        "--greenroom-failures",
        metavar="DIR",
        help="where the bundles of failed tests go (default: pytest's base temporary folder)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and refuse names that mean nothing before any test runs."""
    config.addinivalue_line("markers", "e2e: needs a real homeserver")
    config.addinivalue_line("markers", "container: needs a container engine")
    config.addinivalue_line(
        "markers", "scenarios(promises, only=()): run the test once per scenario with the bot of that promises file"
    )
    config.stash[NOTES] = []
    kind, backend = config.getoption("--homeserver"), config.getoption("--backend")
    if (kind, backend) != (DEFAULT_KIND, DEFAULT_BACKEND):
        from greenroom.errors import Misuse
        from greenroom.homeserver.choose import parse_backend
        from greenroom.homeserver.kind import find_kind

        try:
            find_kind(kind), parse_backend(backend)
        except Misuse as error:
            raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse settings that would be silently ignored: the shared homeserver can be started in one way only."""
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
    """This test run: its folder, its choice of homeserver, everything it has started.

    Where the homeserver cannot run, the tests are skipped with the reason, or fail if GREENROOM_REQUIRE (a list like
    "container,process") names the backend.
    """
    from greenroom.errors import Unavailable
    from greenroom.session import Session, is_required

    config = request.config
    if hasattr(config, "workerinput"):
        from greenroom.processes.launcher import die_with_parent

        if not die_with_parent(os.getppid()):  # the controller of `pytest -n` is gone, and nobody reads our results
            os.kill(os.getpid(), signal.SIGKILL)
    kind, backend = config.getoption("--homeserver"), config.getoption("--backend")
    try:
        session = Session.begin(kind, backend)
    except Unavailable as lacking:
        config.stash[NOTES].append(f"{kind} on backend {backend}: not run, {lacking}")
        if is_required(backend):
            raise
        pytest.skip(str(lacking))
    config.stash[SESSION] = session
    chosen = config.getoption("--greenroom-failures")
    config.stash[BUNDLES] = Path(chosen).resolve() if chosen else tmp_path_factory.getbasetemp() / "greenroom-failures"
    session.begin_record(config.stash.get(CURRENT, "session"))
    yield session
    session.close(keep=config.getoption("--keep-greenroom"))


@pytest.fixture(scope="session")
def homeserver_settings() -> HomeserverSettings:
    """Settings of the shared homeserver. Override it in the topmost conftest to change them for all tests."""
    from greenroom.homeserver import HomeserverSettings

    return HomeserverSettings()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def homeserver(greenroom: Session, homeserver_settings: HomeserverSettings) -> AsyncIterator[RunningHomeserver]:
    """One homeserver for the whole session, every rate limit lifted. Share it; do not stop it."""
    async with greenroom.homeserver(homeserver_settings) as server:
        yield server


@pytest_asyncio.fixture
async def fresh_homeserver(greenroom: Session) -> AsyncIterator[Any]:
    """A factory of homeservers for this test alone, to be stopped, killed or limited: `await fresh_homeserver()`.

    Takes the fields of HomeserverSettings, for instance `rate_limits="default"`.
    """
    from greenroom.homeserver import HomeserverSettings

    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> RunningHomeserver:
            return await stack.enter_async_context(greenroom.homeserver(HomeserverSettings(**settings)))

        yield make


@pytest_asyncio.fixture
async def person(
    request: pytest.FixtureRequest, greenroom: Session, homeserver: RunningHomeserver
) -> AsyncIterator[PersonFactory]:
    """A factory of people for this test: `alice = await person("alice")`, new account, logged in.

    They live on `homeserver` unless told otherwise: `await person("carol", server=other)`.
    """
    from greenroom.session import PersonFactory

    async with AsyncExitStack() as stack:
        yield PersonFactory(greenroom, stack, request.node.name, homeserver)


@pytest_asyncio.fixture
async def bot(
    request: pytest.FixtureRequest, greenroom: Session, homeserver: RunningHomeserver
) -> AsyncIterator[BotFactory]:
    """A factory of bots for this test: `await bot()` is ours, `await bot("python my_bot.py")` is yours.

    New account, own folder; it lives on `homeserver` unless told otherwise, and is stopped at the end of the test.
    Yours is ready when it listens, unless `ready=` says otherwise.
    """
    from greenroom.session import BotFactory

    async with AsyncExitStack() as stack:
        yield BotFactory(greenroom, stack, request.node.name, homeserver)


@pytest_asyncio.fixture
async def faults(greenroom: Session, homeserver: RunningHomeserver) -> AsyncIterator[FaultProxy]:
    """A proxy in front of `homeserver` that breaks what the test asks it to: `await bot(through=faults)`.

    It belongs to this test alone, so no fault can reach the next one. In front of another homeserver:
    `async with greenroom.faults.fault_proxy(server) as faults`.
    """
    from greenroom.faults import fault_proxy

    async with fault_proxy(homeserver) as proxy:
        greenroom.record.transcripts.append(proxy.transcript)
        yield proxy


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat a test that is marked `scenarios` for each of them."""
    marker = metafunc.definition.get_closest_marker("scenarios")
    if marker is None or "scenario" not in metafunc.fixturenames:
        return
    from greenroom.errors import Misuse
    from greenroom.scenarios import chosen_scenarios, load_promises

    try:
        promises = load_promises(metafunc.definition.path.parent / marker.args[0])
        names = [scenario.name for scenario in chosen_scenarios(marker.kwargs.get("only", ()))]
    except Misuse as error:
        raise pytest.Collector.CollectError(str(error)) from None
    metafunc.parametrize("scenario", [(promises, name) for name in names], ids=names, indirect=True)


@pytest.fixture
def scenario(
    request: pytest.FixtureRequest, greenroom: Session, homeserver: RunningHomeserver
) -> Callable[[], Awaitable[None]]:
    """One scenario for the bot of a promises file: `@pytest.mark.scenarios("my_bot.yaml")`, then `await scenario()`.

    It raises AssertionError when the bot fails, HarnessError when there is no verdict, and skips what is not promised.
    """
    if not hasattr(request, "param"):
        raise pytest.UsageError('the fixture `scenario` needs @pytest.mark.scenarios("my_bot.yaml") on the test')
    from greenroom.scenarios import CATALOGUE, NOT_PROMISED, play

    promises, name = request.param

    async def run() -> None:
        way = CATALOGUE[name].way_of(promises)
        if way == NOT_PROMISED:
            pytest.skip(f"{promises.name} does not promise {name}")
        await play(greenroom, homeserver, promises, CATALOGUE[name], way)

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin to note what this test does."""
    item.config.stash[CURRENT] = item.nodeid
    session = item.config.stash.get(SESSION, None)
    if session is not None:
        session.begin_record(item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Skip a test that asks its homeserver for something that only another kind or backend can do."""
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
    """Write the bundle of a failed test that used a homeserver, while all is still there; name it in the report."""
    report = yield
    session = item.config.stash.get(SESSION, None)
    asked = item.config.getoption("--keep-greenroom") and call.when == "call"
    if session is not None and "greenroom" in getattr(item, "fixturenames", ()) and (report.failed or asked):
        from greenroom.evidence.bundle import write_bundle

        error = call.excinfo.value if call.excinfo else None
        verdict = f"{report.when} failed" if report.failed else "passed"
        said = f"{verdict}\n\n{report.longreprtext or error or ''}"
        folder = write_bundle(item.config.stash[BUNDLES], session.record, said, error)
        report.sections.append(("greenroom", f"failure bundle: {folder}" if report.failed else f"bundle: {folder}"))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Note what this process ran; a worker of `pytest -n` hands it to the controller."""
    config = session.config
    ours = config.stash.get(SESSION, None)
    if ours is not None:
        config.stash[NOTES] += ours.report()
    if hasattr(config, "workeroutput"):
        config.workeroutput[WORKER_NOTES] = config.stash[NOTES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take a worker's notes (a hook of pytest-xdist)."""
    for line in getattr(node, "workeroutput", {}).get(WORKER_NOTES, ()):
        node.config.stash[NOTES].append(f"[{node.gateway.id}] {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which homeservers ran, what was not available and why, and where kept files are."""
    notes = config.stash.get(NOTES, [])
    if notes:
        terminalreporter.section("greenroom")
        for line in notes:
            terminalreporter.write_line(line)
