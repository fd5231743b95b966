"""The people on the stage: they survive their homeserver, say when a login has ended, and leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from greenroom import waiting
from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver import RunningHomeserver
from greenroom.people.accounts import log_in
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.stage.being.player import Player
from greenroom.stage.people import People
from greenroom.stage.script import LogInStep, PersonStep, Script

BOT = "@bot:greenroom.test"


@pytest_asyncio.fixture
async def server(fresh_homeserver) -> RunningHomeserver:
    return await fresh_homeserver(blueprint="qa")


@pytest_asyncio.fixture
async def people(server) -> AsyncIterator[People]:
    async with People(server, lambda: list(server.seeded.people), lambda: BOT, Script()) as people:
        yield people


async def until(condition: Callable[[], object], what: str) -> None:
    await waiting.until(lambda: bool(condition()) or waiting.NotYet("not yet"), what, timeout_s=30)


def heard(player: Player, text: str) -> bool:
    return any(event.body == text for event in player.person.seen.messages())


async def test_a_person_goes_on_where_the_homeserver_comes_back(server, people):
    """While it is away the page says so, and an act fails with one line instead of waiting for ever."""
    alice = await people.log_in("alice")
    room = server.seeded.room("c1")

    await server.kill()
    await until(lambda: "does not answer" in alice.problem, "the problem to be told")
    with pytest.raises(HarnessError, match=r"^the homeserver does not answer"):
        await alice.rename(room, "Never")
    await server.start_again()
    await until(lambda: not alice.problem, "the problem to be over")
    await alice.say(room, "here again")
    await until(lambda: heard(alice, "here again"), "the message")

    steps = [step for step in people.script.steps if isinstance(step, PersonStep)]
    assert [(step.action, step.values) for step in steps] == [("say", {"text": "here again"})]


async def test_a_login_that_the_homeserver_has_ended_is_over_until_one_logs_in_again(server, people):
    """As after its data was wiped or restored."""
    alice = await people.log_in("alice")
    async with MatrixApi(server.url) as api:
        other = await log_in(api, server.seeded.account("alice"))
        await api.call("POST", path("logout", "all"), token=other.access_token, json={})

    await until(lambda: alice.is_over, "the end of the login")
    again = await people.log_in("alice")

    assert "log in again" in alice.problem
    assert again is not alice
    assert await people.log_in("alice") is again


async def test_two_people_read_each_other_in_an_encrypted_room(people):
    """Each is on a device with keys of its own."""
    alice, carol = await people.log_in("alice"), await people.log_in("carol")
    room = await alice.create_room("Hush", encrypted=True, invite=[carol.user_id])
    await until(lambda: room in carol.person.seen.invited, "the invite")
    await carol.join(room)
    await until(lambda: alice.person.seen.membership(room, carol.user_id) == "join", "the join")

    await alice.say(room, "between us")
    await until(lambda: heard(carol, "between us"), "the message")

    assert all(event.encrypted for event in carol.person.seen.messages(room))
    assert room in people.script.encrypted


async def test_a_new_person_has_a_name_that_nobody_has(people):
    """The bot is nobody whom one can play."""
    erin = await people.register(" Erin ")

    assert people.script.steps == [LogInStep("erin", new=True)]
    assert [one.localpart for one in people.accounts()] == ["alice", "carol", "dave", "erin"]
    for name, problem in (("alice", "there is somebody called alice"), ("no spaces", "letters"), ("", "letters")):
        with pytest.raises(Misuse, match=problem):
            await people.register(name)
    with pytest.raises(Misuse, match="nobody called"):
        await people.log_in("bot")
    assert erin.name == "erin"


async def test_the_end_of_the_stage_ends_the_sessions_and_removes_the_keys(server):
    """Devices that nobody uses would be offered keys for ever."""
    people = People(server, lambda: list(server.seeded.people), lambda: BOT, Script())
    async with people:
        alice = await people.log_in("alice")
        token, store = alice.person.client.access_token, Path(alice.person.client.store_path)
        assert list(store.iterdir())

    assert not store.exists()
    async with MatrixApi(server.url) as api:
        with pytest.raises(HarnessError, match="M_UNKNOWN_TOKEN"):
            await api.call("GET", path("account", "whoami"), token=token)
