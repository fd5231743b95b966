"""Homeservers from snapshots: the same data each time, never stale, never damaged, and right after any crash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest

from greenroom.errors import HarnessError, MatrixRefused
from greenroom.homeserver import Capability, HomeserverSettings
from greenroom.homeserver.choose import make_homeserver
from greenroom.homeserver.settings import SECRETS_FILE, Secrets
from greenroom.homeserver.synapse_config import DATABASE_FILE
from greenroom.people.accounts import Account, log_in
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.processes.procfs import pids_with_environment, started_at
from greenroom.seed import Seeder
from greenroom.seed.load import load_blueprint, parse_blueprint
from greenroom.seed.logins import accounts_with
from greenroom.snapshots import kept
from greenroom.snapshots.cache import SnapshotCache
from greenroom.snapshots.renewed import change_passwords

pytestmark = pytest.mark.usefixtures("cache")  # an empty one, even where a test does not look at it

SMALL = parse_blueprint(
    """
version: 1
name: small
people: [{name: anna, displayname: Anna}, {name: bert, password: fixed-by-the-blueprint}]
rooms:
  - {key: home, creator: anna, space: true, name: Home, children: [den], members: [bert]}
  - key: den
    creator: anna
    name: Den
    members: [bert]
    messages: [{sender: anna, body: one}, {sender: bert, body: two}]
  - {key: talk, creator: bert, members: [anna], direct: true, encrypted: true}
""",
    "small.yaml",
)


def snapshots(cache: SnapshotCache) -> list[Path]:
    """Return everything in the cache, drafts too."""
    return sorted(cache.folder.glob("*"))


async def fingerprint(server) -> str:
    """Return a hash of all that is in the seeded rooms, with all ids, and of everybody's devices and direct chats."""
    seen: list[Any] = []
    async with MatrixApi(server.url) as api:
        for person in server.seeded.people:
            token = await api.log_in(person.user_id, person.password, "LOOK")
            rooms = sorted((await api.call("GET", path("joined_rooms"), token=token))["joined_rooms"])
            seen += [person.user_id, person.password, rooms]
            for room in rooms:
                state = await api.call("GET", path("rooms", room, "state"), token=token)
                params = {"dir": "b", "limit": "200"}
                page = await api.call("GET", path("rooms", room, "messages"), token=token, params=params)
                told = sorted((*state, *page["chunk"]), key=lambda event: event["event_id"])
                seen += [[event["event_id"], event["type"], event["sender"], event["content"]] for event in told]
            devices = (await api.call("GET", path("devices"), token=token))["devices"]
            direct = await api.account_data(person.user_id, "m.direct", token)
            seen += [sorted(device["device_id"] for device in devices), direct]
            await api.log_out(token)
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


@asynccontextmanager
async def started(greenroom, folder: Path):
    """Run a homeserver on a folder with data, as the test run's own ones are."""
    async with make_homeserver(greenroom.choice, folder, HomeserverSettings(), run=greenroom.run).running() as server:
        yield server


async def can_log_in(server, account: Account) -> bool:
    async with MatrixApi(server.url) as api:
        try:
            await log_in(api, account)
        except MatrixRefused as refused:
            if refused.errcode != "M_FORBIDDEN":
                raise
            return False
        return True


@pytest.mark.timeout(1800)
async def test_ten_restores_are_alike_to_the_last_event(greenroom, fresh_homeserver, request):
    """User ids, passwords, rooms, events and devices are equal ten times. `--restored-rooms 500` is the long form."""
    blueprint = load_blueprint("large", {"rooms": request.config.getoption("--restored-rooms")})
    made, restored = greenroom.started["seeded"], greenroom.started["restored"]
    seen = set()
    for _ in range(11):
        async with greenroom.homeserver(HomeserverSettings(), blueprint=blueprint) as server:
            seen.add(await fingerprint(server))

    assert len(seen) == 1
    assert (greenroom.started["seeded"] - made, greenroom.started["restored"] - restored) == (1, 10)
    assert "restored from a snapshot" in "\n".join(greenroom.report())


async def test_homeservers_from_one_snapshot_do_not_meet(fresh_homeserver, person):
    """What somebody says on one of them stays there; a seeded account is logged in where it lives."""
    one, two = await fresh_homeserver(blueprint=SMALL), await fresh_homeserver(blueprint=SMALL)
    anna, other = await person(one.seeded.account("anna")), await person(two.seeded.account("anna"))

    await anna.send_text(one.seeded.room("den"), "three")

    assert one.seeded.rooms == two.seeded.rooms
    assert [event["content"]["body"] for event in await anna.messages(one.seeded.room("den"))] == [
        "one",
        "two",
        "three",
    ]
    assert [event["content"]["body"] for event in await other.messages(two.seeded.room("den"))] == ["one", "two"]


@pytest.mark.blueprint("large", rooms=2)
async def test_the_marker_seeds_the_homeservers_of_a_test(fresh_homeserver, person, bot):
    """`fresh_homeserver()` has people and rooms of the blueprint, with its values; a bot can take its account."""
    server = await fresh_homeserver()
    alice = await person(server.seeded.account("alice"))

    greenroom = await bot(account=server.seeded.account("bot"))

    assert greenroom.user_id == "@bot:greenroom.test"
    assert len(await alice.joined_rooms()) == len(server.seeded.rooms) == 4


async def test_settings_that_say_how_a_homeserver_behaves_share_a_snapshot(greenroom, fresh_homeserver, person):
    """Rate limits and manners do not slow the seeding down; they hold on the restored homeserver."""
    plain = await fresh_homeserver(blueprint=SMALL)
    strict = await fresh_homeserver(blueprint=SMALL, manners=("strict",), log_level="DEBUG")

    assert strict.manners == ("strict",)
    assert strict.seeded.rooms == plain.seeded.rooms
    assert await can_log_in(strict, strict.seeded.account("bert"))
    if plain.can(Capability.RATE_LIMITS):
        limited = await fresh_homeserver(blueprint=SMALL, rate_limits=["rc_message"])
        assert limited.seeded.rooms == plain.seeded.rooms


async def test_seeded_homeservers_federate(fresh_homeserver, person):
    """Each has a name, and so a snapshot, of its own; their seeded people meet."""
    here = await fresh_homeserver(blueprint=SMALL)
    there = await fresh_homeserver(blueprint=SMALL, federate_with=here)
    anna, stranger = await person(here.seeded.account("anna")), await person(there.seeded.account("anna"))

    room = await anna.create_room(name="Meeting", invite=[stranger.user_id])
    await stranger.join(room)

    assert stranger.user_id == "@anna:hs2.greenroom.test"
    assert await anna.members(room) == {anna.user_id, stranger.user_id}


@pytest.mark.parametrize("is_up", [True, False], ids=["running", "stopped"])
async def test_a_copy_of_a_homeserver_has_its_tokens_its_events_and_its_media(
    greenroom, fresh_homeserver, person, tmp_path, is_up
):
    """Sessions go on at the copy. The original goes on as well, and neither hears of the other."""
    server = await fresh_homeserver()
    alice = await person("alice", server=server)
    room = await alice.create_room(name="Kept")
    said = await alice.send_text(room, "before")
    picture = await upload(server.url, alice.client.access_token, b"a picture")
    if not is_up:
        await server.stop()

    with kept.writing(tmp_path / "one", {}) as files:
        await server.copy_data(files)
    if not is_up:
        await server.start_again()
    later = await alice.send_text(room, "after")
    snapshot = kept.read(tmp_path / "one")
    assert snapshot is not None
    snapshot.copy_to(tmp_path / "copy")

    async with started(greenroom, tmp_path / "copy") as copy, MatrixApi(copy.url) as api:
        token = alice.client.access_token
        assert (await api.call("GET", path("account", "whoami"), token=token))["user_id"] == alice.user_id
        assert (await api.call("GET", path("rooms", room, "event", said), token=token))["content"]["body"] == "before"
        with pytest.raises(MatrixRefused, match="404"):
            await api.call("GET", path("rooms", room, "event", later), token=token)
        assert await download(copy.url, token, picture) == b"a picture"
    if greenroom.choice.kind.name == "synapse":
        assert {name.partition("/")[0] for name in snapshot.files} == {"homeserver.db", "media", SECRETS_FILE}


async def upload(url: str, token: str, content: bytes) -> str:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        answer = await session.post(f"{url}/_matrix/media/v3/upload", data=content)
        return str((await answer.json())["content_uri"]).removeprefix("mxc://")


async def download(url: str, token: str, media: str) -> bytes:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        answer = await session.get(f"{url}/_matrix/client/v1/media/download/{media}")
        return await answer.read()


async def test_new_secrets_end_old_passwords(greenroom, fresh_homeserver, tmp_path):
    """A derived password becomes the new homeserver's own, and one that the blueprint fixes stays."""
    server = await fresh_homeserver(blueprint=SMALL)
    old = {name: server.seeded.account(name) for name in ("anna", "bert")}
    with kept.writing(tmp_path / "one", {}) as files:
        await server.copy_data(files)
    snapshot = kept.read(tmp_path / "one")
    assert snapshot is not None
    snapshot.copy_to(tmp_path / "copy", leave_out=[SECRETS_FILE])
    secret = Secrets.kept_in(tmp_path / "copy" / SECRETS_FILE).registration_shared_secret
    new = {account.localpart: account for account in accounts_with(SMALL, server.server_name, secret)}

    change_passwords(tmp_path / "copy" / DATABASE_FILE, {each.user_id: each.password for each in new.values()})

    assert new["anna"].password != old["anna"].password
    assert new["bert"].password == "fixed-by-the-blueprint"
    async with started(greenroom, tmp_path / "copy") as copy, MatrixApi(copy.url) as api:
        async with Seeder(copy, SMALL) as seeder:
            assert (await seeder.plan()).steps == ()
        assert not await can_log_in(copy, old["anna"])
        anna = await log_in(api, new["anna"])
        where = path("rooms", server.seeded.room("den"), "send", "m.room.message", "1")
        await api.call("PUT", where, token=anna.access_token, json={"msgtype": "m.text", "body": "still mine"})


async def test_a_password_of_an_unknown_account_is_not_changed(fresh_homeserver, tmp_path):
    """The error names the account, and no other password is changed."""
    server = await fresh_homeserver(blueprint=SMALL)
    await server.copy_data(tmp_path)

    with pytest.raises(HarnessError, match="has no account @nobody:"):
        change_passwords(tmp_path / DATABASE_FILE, {"@anna:greenroom.test": "new", "@nobody:greenroom.test": "new"})

    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as database:
        ((hashed,),) = database.execute("SELECT password_hash FROM users WHERE name = '@anna:greenroom.test'")
    assert bcrypt.checkpw(server.seeded.account("anna").password.encode(), hashed.encode())


def alter(folder: Path) -> None:
    files = sorted((folder / kept.FILES).rglob("*"), key=lambda file: file.stat().st_size)
    with files[-1].open("r+b") as file:
        file.seek(5000)
        file.write(b"!")


def truncate(folder: Path) -> None:
    files = sorted((folder / kept.FILES).rglob("*"), key=lambda file: file.stat().st_size)
    os.truncate(files[-1], 4096)


def lose_manifest(folder: Path) -> None:
    (folder / kept.MANIFEST).unlink()


@pytest.mark.parametrize("damage", [alter, truncate, lose_manifest])
async def test_a_damaged_snapshot_is_made_anew_and_never_used(greenroom, fresh_homeserver, cache, damage):
    """The next homeserver is seeded again, from nothing, and the one after it is restored."""
    await fresh_homeserver(blueprint=SMALL)
    (folder,) = snapshots(cache)
    damage(folder)
    made = greenroom.started["seeded"]

    second = await fresh_homeserver(blueprint=SMALL)
    third = await fresh_homeserver(blueprint=SMALL)

    assert greenroom.started["seeded"] - made == 1
    assert second.seeded.rooms == third.seeded.rooms
    assert snapshots(cache) == [folder]
    snapshot = kept.read(folder)
    assert snapshot is not None
    snapshot.check()


async def test_with_the_cache_off_a_homeserver_is_seeded_as_it_runs(fresh_homeserver, cache, monkeypatch):
    """GREENROOM_CACHE_SIZE_MB=0 keeps nothing. So does a cache that cannot be written."""
    monkeypatch.setenv("GREENROOM_CACHE_SIZE_MB", "0")
    server = await fresh_homeserver(blueprint=SMALL)
    monkeypatch.delenv("GREENROOM_CACHE_SIZE_MB")
    cache.folder.write_text("in the way")
    other = await fresh_homeserver(blueprint=SMALL)

    for one in (server, other):
        assert await can_log_in(one, one.seeded.account("anna"))
    assert other.seeded.rooms.keys() == {"home", "den", "talk"}
    assert cache.folder.read_text() == "in the way"


RUN = """
import asyncio, json, sys
from greenroom.homeserver import HomeserverSettings
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.seed import Seeder
from greenroom.seed.load import load_blueprint
from greenroom.session import Session

async def main():
    session, blueprint = Session.begin(*sys.argv[1:3]), load_blueprint("qa")
    try:
        async with session.homeserver(HomeserverSettings(), blueprint=blueprint) as server:
            async with Seeder(server, blueprint) as seeder, MatrixApi(server.url) as api:
                steps = len((await seeder.plan()).steps)
                alice = server.seeded.account("alice")
                token = await api.log_in(alice.user_id, alice.password, "LOOK")
                joined = (await api.call("GET", path("joined_rooms"), token=token))["joined_rooms"]
            print(json.dumps([steps, sorted(joined), server.seeded.rooms]))
    finally:
        session.close()

asyncio.run(main())
"""


class Runs:
    """Runs of a process that starts a seeded homeserver, with runs folder and cache of their own."""

    def __init__(self, tmp_path: Path, kind: str, backend: str) -> None:
        self.folder = tmp_path / "runs"
        self.mark = f"SNAPSHOT_TEST={tmp_path}"
        name, _, value = self.mark.partition("=")
        kept_environment = {key: value for key, value in os.environ.items() if key != "GREENROOM_HEAD"}
        self._environment = {**kept_environment, name: value, "GREENROOM_RUNS_DIR": str(self.folder)}
        self._command = [sys.executable, "-c", RUN, kind, backend]

    def killed(self, when: Callable[[], object]) -> None:
        """Start one, and kill it as soon as `when` is true."""
        child = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.DEVNULL)
        try:
            while not when():
                assert child.poll() is None, "it ended before the moment to kill it"
                time.sleep(0.0005)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()

    def to_the_end(self) -> tuple[int, list[str], dict[str, str]]:
        """Run one to its end; return the steps that were left to seed, the rooms of alice, and the seeded rooms."""
        answer = subprocess.run(
            self._command, env=self._environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert answer.returncode == 0, answer.stderr
        steps, joined, rooms = json.loads(answer.stdout.splitlines()[-1])
        return steps, joined, rooms

    def living(self) -> list[int]:
        return [pid for pid in pids_with_environment(self.mark) if started_at(pid)]


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("moment", ["seeding", "writing", "restoring"])
async def test_sigkill_at_any_moment_and_the_next_run_is_right(greenroom, cache, tmp_path, moment):
    """A seeding, a snapshot or a restore that is killed leaves no half data to any later run, no draft, no process."""
    runs = Runs(tmp_path, greenroom.choice.kind.name, str(greenroom.choice.backend))
    if moment == "restoring":
        await in_thread(runs.to_the_end)
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    delay_s = random.Random(seed).uniform(0, 2.0)

    def seeding() -> bool:
        if not any(cache.folder.glob(f"{kept.DRAFT}*/lock")) and greenroom.choice.backend == "process":
            return False
        if not any(cache.folder.glob(f"{kept.DRAFT}*")):
            return False
        time.sleep(delay_s)
        return True

    moments: dict[str, Callable[[], object]] = {
        "seeding": seeding,
        "writing": lambda: any(cache.folder.glob(f"{kept.DRAFT}*/{kept.FILES}/*")),
        "restoring": lambda: any(runs.folder.glob("run-*/homeserver-*/*")),
    }

    await in_thread(lambda: runs.killed(moments[moment]))
    steps, joined, rooms = await in_thread(runs.to_the_end)
    again = await in_thread(runs.to_the_end)

    assert steps == 0
    assert again == (0, joined, rooms)
    assert set(joined) <= set(rooms.values())
    (folder,) = snapshots(cache)
    snapshot = kept.read(folder)
    assert snapshot is not None
    snapshot.check()
    assert runs.living() == []
