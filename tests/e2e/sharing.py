"""What the tests of warm parents, snapshots and tidiness have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from greenroom.errors import MatrixRefused
from greenroom.homeserver import RunningHomeserver
from greenroom.people.accounts import Account
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.processes.cache import FOLDER, cache_root
from greenroom.snapshots.cache import SnapshotCache


@pytest.fixture
def cache(tmp_path, monkeypatch) -> SnapshotCache:
    """An empty cache of the test's own. It shares the empty databases of warm parents, which take seconds to make."""
    folder: Path = tmp_path / "cache"
    folder.mkdir()
    (cache_root() / "templates").mkdir(parents=True, exist_ok=True)
    (folder / "templates").symlink_to(cache_root() / "templates")
    monkeypatch.setenv(FOLDER, str(folder))
    return SnapshotCache.chosen()


async def knows(server: RunningHomeserver, account: Account) -> bool:
    """Return whether the account's token is good on that homeserver."""
    async with MatrixApi(server.url) as api:
        try:
            answer = await api.call("GET", path("account", "whoami"), token=account.access_token)
        except MatrixRefused:
            return False
    return bool(answer["user_id"] == account.user_id)


def wait_for(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait without an event loop. The test fails if `what` does not come about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
