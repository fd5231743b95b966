"""The bot on homeservers with other manners: for each rule that a bot can trip over, what it would do wrong.

The manners stand in front of the fake homeserver, as they stand in front of a Synapse in the end-to-end tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import nio
import pytest

from greenroom.faults import FaultProxy
from greenroom.waiting import until
from greenroom_bot.matrix.sync import SHORT_POLL_MS
from tests.bot.factory import ALICE, CAROL, IDENTITY_TYPE, ME, event
from tests.bot.looping import running


@pytest.fixture
def mannered(server) -> Iterator[Callable[..., FaultProxy]]:
    """Return what puts a proxy with manners in front of the fake homeserver."""
    with contextlib.ExitStack() as stack:

        def put(*names: str) -> FaultProxy:
            proxy = FaultProxy(SimpleNamespace(server_name="hs1", url=server.url))
            proxy.manners(*names)
            proxy.start()
            stack.callback(proxy.close)
            return proxy

        yield put


@pytest.fixture
def start_behind(start, mannered):
    """Return what starts a bot behind manners. A second start is behind the same proxy."""
    proxies: dict[tuple[str, ...], FaultProxy] = {}

    def begin(*names, **changed):
        if names not in proxies:
            proxies[names] = mannered(*names)
        return start(homeserver=proxies[names].url, **changed)

    return begin


async def stopped(run):
    await run.stop()
    assert run.error is None


async def test_picture_from_a_cache(server, start_behind, chat):
    """A room that was renamed since the first start is found renamed, although the homeserver shows its old picture."""
    await stopped(await start_behind("picture-from-a-cache").live())
    chat.named("Renamed")
    await server.nudge()

    second = start_behind("picture-from-a-cache")
    await second.live()
    await second.stop()

    assert second.row().title == "Renamed"


async def test_picture_from_a_cache_and_a_lost_database(server, start_behind, chat, tmp_path):
    """What an old picture is followed by was said before this start, so it is not answered."""
    await stopped(await start_behind("picture-from-a-cache", "told-twice").live())
    await server.say(chat, "before")
    (tmp_path / "bot.db").unlink()

    second = await start_behind("picture-from-a-cache", "told-twice").live()
    await server.say(chat, "after")
    await server.until(lambda: chat.said(), "an answer")
    await server.say(chat, "last")
    await server.until(lambda: "last" in chat.said(), "the last answer")
    await second.stop()

    assert chat.said() == ["after", "last"]


async def test_told_twice(server, start_behind, chat):
    """A message that is told again is answered once, and so is an invite."""
    run = await start_behind("told-twice").live()
    direct = await server.invite()
    await server.say(chat, "one")
    await server.until(lambda: direct.said() and chat.said(), "both answers")
    await server.say(chat, "two")
    await server.until(lambda: len(chat.said()) == 2, "the second answer")
    await run.stop()

    assert chat.said() == ["one", "two"]
    assert len(run.logged("message_handled")) == 2  # the homeserver itself would send the same answer once
    assert len(direct.said()) == 1
    assert server.count("POST /join") == 1


async def test_own_join_in_state(server, start_behind):
    """What was said before the bot came is not answered, although no timeline shows when it came."""
    first = await start_behind("own-join-in-state").live()
    await first.stop()
    direct = await server.invite()
    await server.say(direct, "!new Before")
    await start_behind("own-join-in-state").live()
    await server.until(lambda: direct.said(), "the greeting")
    await server.say(direct, "!chats")
    await server.until(lambda: len(direct.said()) == 2, "the answer")

    assert "Before" not in direct.said()[1]
    assert len([room for room in server.rooms if room.startswith("!made")]) == 2


async def test_a_join_that_no_sync_shows(server, start_behind, monkeypatch):
    """A bot that was killed between joining and greeting greets at its next start, whatever the syncs show."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0)
    gate = server.hold("GET /rooms/!direct:hs1/state")
    first = await start_behind("new-rooms-without-state").live()
    direct = await server.invite()
    await server.until(lambda: server.faults[0].times == 0, "the room to be looked at")
    await first.stop()
    gate.set()
    direct.history = [(at, e) for at, e in direct.history if e.get("state_key") != ME]  # no sync shows it
    server.append(direct, event("m.room.topic", {"topic": "x"}, state_key="", sender=ALICE))

    await start_behind("new-rooms-without-state").live()
    await server.until(lambda: direct.said(), "the greeting")

    assert len(direct.said()) == 1


async def test_messages_heed_nothing(server, mannered, client, heard):
    """A gap is filled back to an event that was handled: the homeserver tells also what came before."""
    chat = server.chat()
    ids = [await server.say(chat, f"m{n}") for n in range(180)]
    since = f"s{server._now - 150}"
    client.was_handled = lambda event_id: event_id == ids[29]
    client.homeserver = mannered("messages-heed-nothing").url

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(30, 180)]


async def test_timelines_of_ten(server, mannered, client, heard):
    """More messages than ten at once are all heard, in order."""
    chat = server.chat()
    since = f"s{server._now}"
    for n in range(30):
        await server.say(chat, f"m{n}")
    client.homeserver = mannered("timelines-of-ten").url

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(30)]


async def test_a_join_that_is_told_again(server, mannered, client, heard, batches):
    """It is no new beginning: a gap after it is filled, and nothing before it is left out."""
    room = server.room("!direct:hs1", creator=ALICE)
    since = f"s{server._now}"
    room.member(ME, "join")
    await server.say(room, "m0")
    client.homeserver = mannered("told-twice", "timelines-of-ten").url
    handed_over = len(batches)

    async def many() -> None:
        await server.until(lambda: len(batches) > handed_over)
        for n in range(1, 30):
            server.append(room, event("m.room.message", {"msgtype": "m.text", "body": f"m{n}"}, sender=ALICE))
        await server.nudge()

    talking = asyncio.create_task(many())
    await running(server, client, lambda: "m29" in heard, since=since)
    await talking

    assert list(dict.fromkeys(heard)) == [f"m{n}" for n in range(30)]


async def test_woken_with_nothing(server, start_behind, chat):
    """An empty answer is not the end of a wait."""
    run = await start_behind("woken-with-nothing").live()
    await server.say(chat, "hello")
    await server.until(lambda: chat.said(), "an answer")
    await run.stop()

    assert chat.said() == ["hello"]


async def test_news_at_the_end(server, mannered, client, heard):
    """What comes while a sync begins to wait is heard soon if something has happened a moment before."""
    chat = server.chat()
    await server.say(chat, "m0")
    since = f"s{server._now - 1}"
    proxy = mannered("news-at-the-end")
    client.homeserver = proxy.url
    first_wait = {"timeout": str(SHORT_POLL_MS)}
    said: list[float] = []

    def say_while_it_begins() -> None:
        if not said:
            said.append(time.monotonic())
            server.append(chat, event("m.room.message", {"msgtype": "m.text", "body": "m1"}, sender=ALICE))

    def begins() -> bool:
        if any(first_wait.items() <= dict(entry.params).items() for entry in asked(proxy)):
            say_while_it_begins()
        return len(heard) == 2

    watching = asyncio.create_task(until(begins, "the news", every_s=0.005))
    await running(server, client, lambda: len(heard) == 2, since=since)
    await watching

    assert heard == ["m0", "m1"]
    assert time.monotonic() - said[0] < 2 * SHORT_POLL_MS / 1000


def asked(proxy):
    """Return the syncs that have arrived, with their queries."""
    for entry in proxy.transcript.entries(path="/sync"):
        yield SimpleNamespace(params=[tuple(part.split("=", 1)) for part in entry.query.split("&") if "=" in part])


async def test_left_rooms_always(server, start_behind, chat, log_lines):
    """A bot that was kicked says so once, and does not ask again at once for what it is told again and again."""
    run = await start_behind("left-rooms-always", "left-rooms-without-state").live()
    chat.member(ME, "leave", sender=ALICE)
    await server.nudge()
    await server.until(lambda: run.logged("room_left"), "the bot to notice")
    syncs = server.count("GET /sync")
    await asyncio.sleep(2 * SHORT_POLL_MS / 1000)
    await run.stop()

    assert len(run.logged("room_left")) == 1
    assert server.count("GET /sync") - syncs <= 3
    assert not run.logged("sync_handling_failed")


async def test_left_rooms_without_state(server, start_behind, chat):
    """A chat that its bot was kicked from keeps its place in the records when those are made anew."""
    chat.member(ME, "leave", by=ALICE)

    run = await start_behind("left-rooms-without-state").live()
    await run.stop()

    assert run.row().status == "left"
    assert "kicked by" in run.row().detail


async def test_members_repeated(server, start_behind, chat):
    """A stranger is told once that only the owner is obeyed, and each membership makes the bot look once."""
    chat.member(CAROL, "join")
    run = await start_behind("members-repeated").live()
    for number in range(3):
        await server.say(chat, f"hello {number}", sender=CAROL)
        await server.nudge()
    for number in range(3):
        await server.say(chat, f"mine {number}")
        await server.until(lambda said=f"mine {number}": said in chat.said(), "the owner's answer")
    await run.stop()

    assert len(chat.said()) == 4
    assert server.count("GET /rooms/!chat/state/m.room.member/") >= 6  # the rule has read each speaker's membership
    assert server.count("GET /rooms/!chat/state$") <= 3  # Carol's, the owner's, its own


async def test_alike_rooms_are_one(server, start_behind):
    """Two people who come at the same time get rooms of their own."""
    run = await start_behind("alike-rooms-are-one").live()
    one = await server.invite("!one:hs1", ALICE)
    two = await server.invite("!two:hs1", CAROL)
    await server.until(lambda: one.said() and two.said(), "both greetings")
    await run.stop()

    made = [room.state[IDENTITY_TYPE, ""]["content"] for name, room in server.rooms.items() if name.startswith("!made")]
    assert sorted((each["owner"], each["kind"]) for each in made) == [
        (ALICE, "chat"),
        (ALICE, "space"),
        (CAROL, "chat"),
        (CAROL, "space"),
    ]


async def test_no_state_after(server, start_behind, chat):
    """A bot that is told the state before the timeline puts the two together."""
    await stopped(await start_behind("no-state-after").live())
    chat.named("Renamed")
    second = start_behind("no-state-after")
    await second.live()
    await second.stop()

    assert second.row().title == "Renamed"


@pytest.mark.parametrize("rule", ["quiet-rooms-left-out", "empty-timelines-lose-state"])
async def test_a_picture_is_whole(server, start_behind, chat, rule):
    """A row that is lost is rebuilt from a room in which nothing happens, with the name that it was given last."""
    await stopped(await start_behind(rule).live())
    chat.named("Renamed")
    first = start_behind(rule)
    await first.live()
    await first.stop()
    with contextlib.closing(first.store()) as store:
        store._db.execute("DELETE FROM rooms")

    second = start_behind(rule)
    await second.live()
    await second.stop()

    assert second.row().title == "Renamed"


async def test_login_without_a_token(server, start_behind, chat):
    """A bot whose session has ended logs in by its password alone."""
    await stopped(await start_behind("login-without-a-token", "no-logout-everywhere").live())
    server.devices.clear()

    run = await start_behind("login-without-a-token", "no-logout-everywhere").live()
    await server.say(chat, "hello")
    await server.until(lambda: chat.said(), "an answer")
    await run.stop()

    assert chat.said() == ["hello"]


async def test_the_waits_of_a_quiet_bot_get_longer(server, client, batches):
    """After something has happened a sync waits for half a second, then twice as long each time."""
    waits: list[int] = []
    sync_once = client._sync_once

    async def note(poll_ms, timeout_ms):
        waits.append(poll_ms)
        if len(waits) == 10:
            await server.say(server.rooms["!chat"], "hello")
        return await sync_once(0, timeout_ms)

    client._sync_once = note
    server.chat()
    await running(server, client, lambda: len(batches) > 11, since=f"s{server._now}")

    assert waits[:12] == [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 500, 1000]
    assert all(isinstance(response, nio.SyncResponse) for response in batches)
