"""Options of our own test suite."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.faults.manners import names_of, parse_manners
from greenroom.plugin import MANNERS, setting

# With `pytest -n`, one worker runs all tests of such a group.
TOGETHER = {
    "each looks at everything in the container engine": (
        "tests/e2e/test_container.py",
        "tests/e2e/test_container_dev.py",
        "tests/e2e/test_compose.py",
    ),
    "they share one large scene": ("tests/e2e/test_drift.py",),
    "they share one recording": ("tests/e2e/test_readme.py",),
}

# These have the longest tests, of up to 200 s. At the end of a run one worker would be busy with them alone.
FIRST = ("tests/zoo/", "tests/gallery/")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that make short tests long."""
    group = parser.getgroup("greenroom's own tests")
    group.addoption("--crashes", type=int, default=8, metavar="N", help="SIGKILLs in the crash test (long form: 50)")
    group.addoption("--crash-seed", type=int, default=None, metavar="N", help="repeat a crash test's random choices")
    group.addoption("--warm-starts", type=int, default=12, metavar="N", help="homeservers in a row (long form: 100)")
    group.addoption(
        "--restored-rooms", type=int, default=10, metavar="N", help="rooms in the test of restores (long form: 500)"
    )
    group.addoption("--zoo", metavar="BOTS", help="bots of tests/zoo to install and run, or `all` (default: none)")
    group.addoption(
        "--only-by-backend",
        action="store_true",
        help="leave out the tests for which --greenroom-backend changes nothing: they choose their backend themselves",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests first, and skip what cannot be seen behind the manners that were asked for.

    With `--only-by-backend`, keep the tests that have a homeserver of the plugin's.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
    behind = names_of(parse_manners(setting(config, MANNERS)))
    for item in items:
        for mark in item.iter_markers("not_behind"):
            rules = names_of(mark.args) or behind
            if met := [name for name in behind if name in rules]:
                item.add_marker(pytest.mark.skip(reason=f"behind {', '.join(met)}: {mark.kwargs['because']}"))
    if config.getoption("--only-by-backend"):
        kept = {item for item in items if "greenroom" in getattr(item, "fixturenames", ())}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]


@pytest.fixture(autouse=True)
def _signal_mask() -> Iterator[None]:
    """A task blocks SIGINT at its start and at its end; the processes of the next test would inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each group of TOGETHER on one worker. pytest-xdist's own `--dist loadgroup` has no effect with pytest 9."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((why for why, files in TOGETHER.items() if nodeid.startswith(files)), nodeid)

    return Scheduling(config, log) if config.getvalue("dist") == "load" else None
