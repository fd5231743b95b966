"""Each manner as a client sees it on the wire, beside what Synapse does without it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import pytest

from greenroom.errors import CapabilityMissing, Misuse
from greenroom.faults.manners import MANNERS, SETS, names_of, syncing
from greenroom.people.accounts import register, unique_localpart
from greenroom.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.not_behind(because="each rule is compared with Synapse without it")]
V3 = "/_matrix/client/v3"
TEXT = {"msgtype": "m.text", "body": "hello"}
FILTER = {"room": {"timeline": {"limit": 50}}}
AFTER = {"use_state_after": "true", "org.matrix.msc4222.use_state_after": "true"}


class Client:
    """A client that speaks plain HTTP."""

    def __init__(self, session, url, account):
        self.session, self.url, self.account = session, url, account
        self.sent = 0

    async def call(self, method, path, body=None, *, data=None, token=None, **query):
        """Make one request. Return (status, body)."""
        headers = {"Authorization": f"Bearer {token or self.account.access_token}"}
        url = self.url + (path if path.startswith("/_") else V3 + path)
        async with self.session.request(method, url, json=body, data=data, params=query, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def ok(self, method, path, body=None, **query):
        status, answer = await self.call(method, path, body, **query)
        assert status == 200, answer
        return answer

    async def sync(self, since=None, wait_s=0.0, **query):
        query = {"filter": json.dumps(FILTER), "timeout": str(int(1000 * wait_s)), **query}
        return await self.ok("GET", "/sync", **({"since": since} if since else {}), **query)

    async def create(self, **content):
        return (await self.ok("POST", "/createRoom", content))["room_id"]

    async def say(self, room, body="hello"):
        self.sent += 1
        where = f"/rooms/{quote(room)}/send/m.room.message/t{self.sent}"
        return (await self.ok("PUT", where, {**TEXT, "body": body}))["event_id"]

    async def act(self, room, what, body=None):
        return await self.call("POST", f"/rooms/{quote(room)}/{what}", body or {})


@asynccontextmanager
async def client_of(url, account):
    async with aiohttp.ClientSession() as session:
        yield Client(session, url, account)


@pytest.fixture
async def account(homeserver, request):
    return await register(homeserver, unique_localpart("bot", request.node.name))


@pytest.fixture
async def other(homeserver, request):
    """Another account's client, which the manners do not reach."""
    account = await register(homeserver, unique_localpart("alice", request.node.name))
    async with client_of(homeserver.url, account) as client:
        yield client


@pytest.fixture
async def plain(homeserver, account):
    """The account's client, past the proxy."""
    async with client_of(homeserver.url, account) as client:
        yield client


@pytest.fixture
async def client(faults, account):
    """The account's client through the proxy."""
    async with client_of(faults.url, account) as client:
        yield client


@pytest.fixture
async def with_state_after(homeserver, account):
    """Let Synapse know MSC4222 for this account."""
    admin = await register(homeserver, unique_localpart("admin"), admin=True)
    async with client_of(homeserver.url, admin) as client:
        where = f"/_synapse/admin/v1/experimental_features/{account.user_id}"
        await client.ok("PUT", where, {"features": {"msc4222": True}})


async def room_of_two(one, two):
    room = await one.create(invite=[two.account.user_id], preset="private_chat")
    await two.ok("POST", f"/rooms/{quote(room)}/join", {})
    return room


def ids(sync, room):
    """Return the ids of the events in a room's timeline."""
    told = sync.get("rooms", {}).get("join", {}).get(room, {})
    return [event["event_id"] for event in told.get("timeline", {}).get("events", [])]


# -- requests


async def test_no_admin_api(faults, client, homeserver):
    where = "/_synapse/admin/v1/register"
    faults.manners("no-admin-api")
    status, answer = await client.call("GET", where)
    assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")


async def test_no_rate_limits(faults, fresh_homeserver):
    from greenroom.faults import fault_proxy

    server = await fresh_homeserver(rate_limits="default")
    account = await register(server, "bot")
    async with fault_proxy(server) as proxy, client_of(proxy.url, account) as client:
        room = await client.create()
        said = [await client.call("PUT", f"/rooms/{quote(room)}/send/m.room.message/a{n}", TEXT) for n in range(12)]
        assert 429 in [status for status, _ in said]
        with proxy.manners("no-rate-limits"):
            said = [await client.call("PUT", f"/rooms/{quote(room)}/send/m.room.message/b{n}", TEXT) for n in range(2)]
        assert [status for status, _ in said] == [200, 200]


async def test_join_needs_a_body(faults, client):
    room = await client.create()
    assert (await client.call("POST", f"/join/{quote(room)}"))[0] == 200
    faults.manners("join-needs-a-body")
    status, answer = await client.call("POST", f"/join/{quote(room)}")
    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")
    assert (await client.call("POST", f"/join/{quote(room)}", {}))[0] == 200
    assert (await client.act(room, "join"))[0] == 200


async def test_no_logout_everywhere(faults, client):
    faults.manners("no-logout-everywhere")
    status, answer = await client.call("POST", "/logout/all", {})
    assert (status, answer["error"]) == (401, "Missing appservice token.")
    assert (await client.call("GET", "/account/whoami"))[0] == 200


async def test_login_without_a_token(faults, client, account):
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": account.user_id},
        "password": account.password,
    }
    assert (await client.call("POST", "/login", login))[0] == 200
    faults.manners("login-without-a-token")
    assert (await client.call("POST", "/login", login))[0] == 401
    async with client.session.post(client.url + V3 + "/login", json=login) as answer:
        assert answer.status == 200


async def test_leaving_says_yes(faults, client):
    room, nowhere = await client.create(), "!nowhere:greenroom.test"
    assert (await client.act(room, "forget"))[0] == 400
    assert (await client.act(nowhere, "leave"))[0] in (403, 404)
    faults.manners("leaving-says-yes")
    assert await client.act(room, "forget") == (200, {})
    assert await client.act(nowhere, "leave") == (200, {})
    assert (await client.ok("GET", "/joined_rooms"))["joined_rooms"] == [room]


async def test_messages_heed_nothing(faults, client):
    room = await client.create()
    first = await client.say(room)
    position = (await client.sync())["next_batch"]
    second = await client.say(room)
    asked = {"dir": "b", "to": position, "filter": json.dumps({"types": ["m.room.message"]}), "limit": "500"}
    where = f"/rooms/{quote(room)}/messages"
    heeded = await client.ok("GET", where, **asked)
    assert [event["event_id"] for event in heeded["chunk"]] == [second]
    faults.manners("messages-heed-nothing")
    chunk = (await client.ok("GET", where, **asked))["chunk"]
    assert [event["event_id"] for event in chunk][:2] == [second, first]
    assert chunk[-1]["type"] == "m.room.create"
    for _ in range(100):
        await client.say(room)
    assert len((await client.ok("GET", where, **asked))["chunk"]) == 100


async def test_alike_rooms_are_one(faults, client):
    made = await asyncio.gather(client.create(), client.create())
    assert len(set(made)) == 2
    faults.manners("alike-rooms-are-one")
    assert len(set(await asyncio.gather(client.create(name="one"), client.create(name="two")))) == 1
    different = [client.create(creation_content={"n": n}) for n in range(2)]
    assert len(set(await asyncio.gather(*different))) == 2
    assert await client.create() != await client.create()


# -- syncs


async def test_picture_from_a_cache(faults, client, plain):
    faults.manners("picture-from-a-cache")
    first = await client.sync()
    room = await client.create()
    assert await client.sync() == first
    assert await client.sync(filter="{}") == first
    zero = await client.sync(since="0")
    assert room in zero["rooms"]["join"]
    await client.create()
    assert await client.sync(since="0") == zero
    assert room in (await client.sync(since=first["next_batch"]))["rooms"]["join"]
    assert room in (await plain.sync())["rooms"]["join"]


async def test_picture_from_a_cache_belongs_to_a_device(faults, client, account):
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": account.user_id},
        "password": account.password,
    }
    faults.manners("picture-from-a-cache")
    first = await client.sync()
    room = await client.create()
    async with client.session.post(
        client.url + V3 + "/login", json={**login, "device_id": account.device_id}
    ) as answer:
        again = (await answer.json())["access_token"]
    _, old = await client.call("GET", "/sync", token=again)
    assert old == first
    async with client.session.post(client.url + V3 + "/login", json=login) as answer:
        new = (await answer.json())["access_token"]
    _, current = await client.call("GET", "/sync", token=new)
    assert room in current["rooms"]["join"]


async def test_positions_accepted(faults, client):
    assert (await client.call("GET", "/sync", since="elsewhere"))[0] == 400
    faults.manners("positions-accepted")
    room = await client.create()
    status, answer = await client.call("GET", "/sync", since="elsewhere")
    assert status == 200
    assert "rooms" not in answer
    await client.say(room)
    assert len(ids(await client.sync(since=answer["next_batch"]), room)) == 1


async def test_left_rooms_always(faults, client):
    room = await client.create()
    await client.act(room, "leave")
    assert "rooms" not in await client.sync()
    faults.manners("left-rooms-always")
    told = await client.sync()
    assert room in told["rooms"]["leave"]
    again = await client.sync(since=told["next_batch"])
    assert room in again["rooms"]["leave"]
    await client.act(room, "forget")
    assert "rooms" not in await client.sync(since=again["next_batch"])


async def test_left_rooms_without_state(faults, client):
    room = await client.create()
    since = (await client.sync())["next_batch"]
    await client.act(room, "leave")
    assert "state" in (await client.sync(since=since))["rooms"]["leave"][room]
    faults.manners("left-rooms-without-state")
    assert "state" not in (await client.sync(since=since))["rooms"]["leave"][room]


async def test_woken_with_nothing(faults, client):
    room = await client.create()
    since = (await client.sync())["next_batch"]
    faults.manners("woken-with-nothing")
    waiting = asyncio.create_task(client.sync(since=since, wait_s=10))
    await asyncio.sleep(0.3)
    event = await client.say(room)
    woken = await waiting
    assert "rooms" not in woken
    assert ids(await client.sync(since=woken["next_batch"], wait_s=10), room) == [event]


async def test_told_twice(faults, client, other, account):
    room = await client.create()
    since = (await client.sync())["next_batch"]
    faults.manners("told-twice")
    first = await client.say(room)
    invited = await other.create(invite=[account.user_id])
    message = {account.user_id: {account.device_id: {"n": 1}}}
    await other.ok("PUT", "/sendToDevice/org.example/t1", {"messages": message})
    once = await client.sync(since=since)
    second = await client.say(room)
    twice = await client.sync(since=once["next_batch"])
    thrice = await client.sync(since=twice["next_batch"])
    assert [ids(each, room) for each in (once, twice, thrice)] == [[first], [first, second], [second]]
    assert [invited in each["rooms"].get("invite", {}) for each in (once, twice)] == [True, True]
    assert [len(each["to_device"]["events"]) for each in (once, twice)] == [1, 1]


async def test_members_repeated(faults, client, other):
    room = await room_of_two(client, other)
    since = (await client.sync())["next_batch"]
    await other.say(room)

    def members(sync):
        events = sync["rooms"]["join"][room]["state"]["events"]
        return [event["state_key"] for event in events if event["type"] == "m.room.member"]

    assert members(await client.sync(since=since)) == []
    faults.manners("members-repeated")
    assert members(await client.sync(since=since)) == [other.account.user_id]


async def test_own_join_in_state(faults, client, other, with_state_after):
    since = (await client.sync())["next_batch"]
    room = await room_of_two(other, client)

    def joins(sync, part):
        events = sync["rooms"]["join"][room][part]["events"]
        own = [e for e in events if e["type"] == "m.room.member" and e["state_key"] == client.account.user_id]
        return [event["content"]["membership"] for event in own]

    assert joins(await client.sync(since=since), "timeline")[-1] == "join"
    faults.manners("own-join-in-state")
    told = await client.sync(since=since)
    assert (joins(told, "timeline"), joins(told, "state")) == ([], ["join"])
    assert joins(await client.sync(since=since, **AFTER), "org.matrix.msc4222.state_after") == ["join"]


async def test_new_rooms_without_state(faults, client, other):
    faults.manners("new-rooms-without-state")
    since = (await client.sync())["next_batch"]
    room = await other.create(invite=[client.account.user_id], preset="private_chat")
    for _ in range(60):
        await other.say(room)
    await client.act(room, "join")
    new = await client.sync(since=since)
    assert new["rooms"]["join"][room]["state"]["events"] == []
    await other.ok("PUT", f"/rooms/{quote(room)}/state/m.room.name", {"name": "it"})
    for _ in range(60):
        await other.say(room)
    old = await client.sync(since=new["next_batch"])
    assert [event["type"] for event in old["rooms"]["join"][room]["state"]["events"]] == ["m.room.name"]


async def test_news_at_the_end(faults, client, plain, other, monkeypatch):
    monkeypatch.setattr(syncing, "BEGINS_S", 2.0)  # long enough for two requests on a busy machine
    room = await room_of_two(client, other)
    since = (await client.sync())["next_batch"]
    faults.manners("news-at-the-end")
    wait_s = 3.0
    began = time.monotonic()
    waiting = asyncio.create_task(client.sync(since=since, wait_s=wait_s))

    def asked():
        return [entry.server_status for entry in faults.transcript.entries(path="/sync")] == [200, 200]

    await until(asked, "the proxy's first question of this sync", every_s=0.001)
    message = {client.account.user_id: {client.account.device_id: {"n": 1}}}
    _, event = await asyncio.gather(
        other.ok("PUT", "/sendToDevice/org.example/t1", {"messages": message}), other.say(room)
    )
    assert time.monotonic() - began < syncing.BEGINS_S
    told = await waiting
    assert time.monotonic() - began > wait_s - 0.1
    assert ids(told, room) == [event]
    assert len(told["to_device"]["events"]) == 1


async def test_news_while_it_waits_comes_at_once(faults, client, other):
    room = await room_of_two(client, other)
    since = (await client.sync())["next_batch"]
    faults.manners("news-at-the-end")
    began = time.monotonic()
    waiting = asyncio.create_task(client.sync(since=since, wait_s=10))
    await asyncio.sleep(0.5)
    event = await other.say(room)
    assert ids(await waiting, room) == [event]
    assert time.monotonic() - began < 5


async def test_timelines_of_ten(faults, client):
    room = await client.create()
    for _ in range(12):
        await client.say(room)
    where = f"/user/{quote(client.account.user_id)}/filter"
    stored = (await client.ok("POST", where, {"room": {"timeline": {"limit": 11, "types": ["m.room.message"]}}}))[
        "filter_id"
    ]
    assert len(ids(await client.sync(), room)) == 12 + 6
    assert len(ids(await client.sync(filter=stored), room)) == 11
    faults.manners("timelines-of-ten")
    told = await client.sync(filter=stored)
    assert len(ids(told, room)) == 10
    assert told["rooms"]["join"][room]["timeline"]["limited"]
    events = told["rooms"]["join"][room]["timeline"]["events"]
    assert {event["type"] for event in events} == {"m.room.message"}
    assert len(ids(await client.sync(), room)) == 10


async def test_no_state_after(faults, client, with_state_after):
    room = await client.create()

    def parts(sync):
        return {part for part in sync["rooms"]["join"][room] if "state" in part}

    assert parts(await client.sync(**AFTER)) == {"org.matrix.msc4222.state_after"}
    faults.manners("no-state-after")
    assert parts(await client.sync(**AFTER)) == {"state"}


async def test_quiet_rooms_left_out(faults, client):
    quiet, loud = await client.create(), await client.create()
    since = (await client.sync())["next_batch"]
    await client.say(loud)
    asked = {"since": since, "full_state": "true"}
    assert {quiet, loud} <= (await client.sync(**asked))["rooms"]["join"].keys()
    faults.manners("quiet-rooms-left-out")
    assert (await client.sync(**asked))["rooms"]["join"].keys() == {loud}
    assert {quiet, loud} <= (await client.sync(full_state="true"))["rooms"]["join"].keys()


async def test_empty_timelines_lose_state(faults, client):
    room = await client.create()
    await client.ok("PUT", f"/rooms/{quote(room)}/state/m.room.name", {"name": "it"})
    asked = {"filter": json.dumps({"room": {"timeline": {"not_types": ["*"]}}})}

    def state(sync):
        return [event["type"] for event in sync["rooms"]["join"][room]["state"]["events"]]

    assert "m.room.name" in state(await client.sync(**asked))
    faults.manners("empty-timelines-lose-state")
    assert "m.room.name" not in state(await client.sync(**asked))


# -- sets


async def test_faults_hit_what_a_homeserver_with_manners_answers(faults, client):
    faults.manners("no-admin-api")
    with faults.html(path="/_synapse/"):
        async with client.session.get(client.url + "/_synapse/admin/v1/register") as answer:
            assert answer.status == 502


async def test_manners_end_with_their_block(faults, client):
    room = await client.create()
    with faults.manners("join-needs-a-body") as manners:
        assert manners.names == ("join-needs-a-body",)
        assert (await client.call("POST", f"/join/{quote(room)}"))[0] == 400
    assert (await client.call("POST", f"/join/{quote(room)}"))[0] == 200


async def test_what_a_homeserver_with_manners_lacks_has_a_reason(fresh_homeserver, person):
    """And it is said before anything fails for it."""
    with pytest.raises(CapabilityMissing, match="its manners know no rate limits"):
        await fresh_homeserver(manners=("no-rate-limits",), rate_limits="default")

    server = await fresh_homeserver(manners=("no-admin-api",))
    assert server.name.endswith("manners of no-admin-api)")
    with pytest.raises(CapabilityMissing, match="its manners have no admin API"):
        await person("admin", server=server, admin=True)
    alice = await person("alice", server=server)
    assert await alice.joined_rooms() == set()


async def test_manners_with_an_unknown_name(faults):
    with pytest.raises(Misuse, match="no such manners: 'conduwuit'; there are conduit, tuwunel, strict, no-admin-api"):
        faults.manners("conduwuit")


def test_every_set_consists_of_rules():
    """And each rule is told to a reader, and has a test here."""
    for name in SETS:
        assert set(names_of([name])) == set(SETS[name])
    assert {f"test_{name.replace('-', '_')}" for name in MANNERS} <= globals().keys()
    assert all(rule.does and rule.helps and rule.section.startswith("#") for rule in MANNERS.values())
