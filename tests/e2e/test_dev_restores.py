"""`dev` on a fresh homeserver: its blueprint comes from a snapshot, its secrets stay its own."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable

import pytest

from greenroom.errors import MatrixRefused
from greenroom.people.accounts import derived_password
from greenroom.people.matrix_api import MatrixApi
from greenroom.snapshots import kept
from tests.e2e.dev_project import Project

pytestmark = pytest.mark.usefixtures("cache")  # an empty one, even where a test does not look at it

RESTORED = re.compile(r"^seed: qa, restored from a snapshot, \d+\.\d s$", re.MULTILINE)
MADE = re.compile(r"^seed: qa, 22 steps, \d+\.\d s; the next fresh start restores them$", re.MULTILINE)


def kill_when(project: Project, moment: Callable[[], object], delay_s: float) -> None:
    """Start `dev --fresh` and send it SIGKILL a while after `moment` is true for the first time."""
    child = project.launched("--fresh")
    while not moment():
        assert child.poll() is None, project.output()
        time.sleep(0.001)
    time.sleep(delay_s)
    child.kill()
    child.wait()


@pytest.mark.timeout(300)
async def test_the_second_fresh_start_restores_with_the_checkouts_own_passwords(project, cache):
    """It says so in one line. The snapshot's own secret, which other checkouts have too, opens no account here."""
    first = project.detached().stdout
    people = project.state()["people"]
    project.run("down")

    second = project.detached("--fresh").stdout

    assert MADE.search(first)
    assert RESTORED.search(second)
    assert project.state()["people"] == people
    assert project.run("seed").stdout == "nothing to do: everything is there\n"
    (folder,) = cache.folder.iterdir()
    secrets = json.loads((folder / kept.FILES / "secrets.json").read_text())
    async with MatrixApi(project.state()["homeserver"]["url"]) as api:
        assert await api.log_in("alice", project.password("alice"), "PHONE")
        with pytest.raises(MatrixRefused, match="M_FORBIDDEN"):
            await api.log_in("alice", derived_password(secrets["registration_shared_secret"], "alice"), "PHONE")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["making", "restoring"])
async def test_a_dev_that_is_killed_before_all_is_there_begins_again(project, cache, moment):
    """Whether it made the snapshot, copied it or changed the passwords: the next `dev` has everything and is seeded."""
    homeserver = project.folder / ".greenroom/homeserver"
    if moment != "making":
        project.detached()
        project.run("down")
    delay_s = random.SystemRandom().uniform(0, {"making": 1.5, "restoring": 0.02}[moment])
    print(f"killed after {delay_s:.3f} s")
    moments: dict[str, Callable[[], object]] = {
        "making": lambda: any(cache.folder.glob(f"{kept.DRAFT}*/*")),
        "restoring": lambda: (homeserver / "restoring").exists() and (homeserver / "homeserver.db").exists(),
    }
    kill_when(project, moments[moment], delay_s)

    again = project.detached().stdout

    assert "running in the background" in again, again
    assert not (homeserver / "restoring").exists()
    assert project.run("seed").stdout == "nothing to do: everything is there\n"
    async with MatrixApi(project.state()["homeserver"]["url"]) as api:
        assert await api.log_in("alice", project.password("alice"), "PHONE")
    assert not list(cache.folder.glob(f"{kept.DRAFT}*")) or moment != "making"
