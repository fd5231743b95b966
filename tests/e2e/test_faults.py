"""The fault proxy between a client and a real homeserver: each fault as the client sees it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
import urllib.request
from contextlib import asynccontextmanager

import aiohttp
import pytest

from greenroom import must
from greenroom.errors import Misuse, NotMet
from greenroom.faults import fault_proxy
from greenroom.people.accounts import register, unique_localpart
from greenroom.waiting import scaled, until
from tests.e2e.scene import said, set_up

V3 = "/_matrix/client/v3"


class Client:
    """A client that speaks plain HTTP, so that nothing is retried or repaired on the way."""

    def __init__(self, session, url, account):
        self.session, self.url, self.account = session, url, account

    async def call(self, method, path, body=None, **params):
        """Make one request; return (status, body as text, headers)."""
        headers = {"Authorization": f"Bearer {self.account.access_token}"}
        async with self.session.request(
            method, self.url + V3 + path, json=body, params=params, headers=headers
        ) as response:
            return response.status, await response.text(), response.headers

    async def whoami(self):
        return await self.call("GET", "/account/whoami")

    async def create_room(self):
        return await self.call("POST", "/createRoom", {})

    async def rooms(self):
        _, text, _ = await self.call("GET", "/joined_rooms")
        return json.loads(text)["joined_rooms"]


@asynccontextmanager
async def client_through(proxy, account):
    async with aiohttp.ClientSession() as session:
        yield Client(session, proxy.url, account)


async def exists(client):
    """Return whether the account has a room."""
    return bool(await client.rooms())


@pytest.fixture
async def account(homeserver):
    return await register(homeserver, unique_localpart("alice", "faults"))


@pytest.fixture
async def client(faults, account):
    async with client_through(faults, account) as client:
        yield client


async def test_without_a_rule_everything_passes(client, faults, account):
    """Without a rule the proxy passes the homeserver's answer on and notes whose request it was."""
    status, body, _ = await client.whoami()

    assert (status, json.loads(body)["user_id"]) == (200, account.user_id)
    (entry,) = faults.transcript.entries(user=account.user_id)
    assert (entry.method, entry.path, entry.status, entry.rule) == ("GET", V3 + "/account/whoami", 200, None)


async def test_a_rate_limit_hits_as_often_as_asked_and_never_reaches_the_server(client, faults, account):
    """A rate limit answers with 429 as often as asked; the limited requests do not reach the homeserver."""
    faults.rate_limited(retry_after_ms=1500, path="/createRoom", times=2)

    first, second, third = [await client.create_room() for _ in range(3)]

    assert [first[0], second[0], third[0]] == [429, 429, 200]
    assert json.loads(first[1])["errcode"] == "M_LIMIT_EXCEEDED"
    assert json.loads(first[1])["retry_after_ms"] == 1500
    assert first[2]["Retry-After"] == "2"
    assert len(await client.rooms()) == 1
    assert faults.transcript.writes_by_user() == {account.user_id: 1}
    assert faults.transcript.requests_by_user() == {account.user_id: 4}


async def test_a_fault_ends_with_its_block(client, faults):
    """A fault lasts as long as its `with` block."""
    with faults.error(503, "M_UNAVAILABLE") as rule:
        inside = await client.whoami()
    outside = await client.whoami()

    assert (inside[0], json.loads(inside[1])["errcode"], outside[0]) == (503, "M_UNAVAILABLE", 200)
    assert rule.hits == 1


async def test_a_bad_gateway_answers_with_html(client, faults):
    """`faults.html` answers with a 502 whose body is an HTML page."""
    with faults.html():
        status, body, headers = await client.whoami()

    assert (status, headers["Content-Type"]) == (502, "text/html")
    assert body.startswith("<html>")


async def test_an_unknown_token_hits_only_its_user(client, faults, homeserver, account):
    """`unknown_token` for one user hits no other user; the proxy knows users whose login it never saw."""
    other = await register(homeserver, unique_localpart("carol", "faults"))
    faults.unknown_token(user=account.user_id)

    async with client_through(faults, other) as carol:
        status, body, _ = await client.whoami()

        assert (status, json.loads(body)["errcode"]) == (401, "M_UNKNOWN_TOKEN")
        assert (await carol.whoami())[0] == 200


async def test_a_dropped_response_was_committed_all_the_same(client, faults):
    """When a response is dropped, the client gets no answer though the homeserver has done what was asked."""
    faults.drop_response(method="POST", path="/createRoom", times=1)

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.create_room()

    assert len(await client.rooms()) == 1
    (entry,) = faults.transcript.entries(path="/createRoom")
    assert (entry.status, entry.server_status) == (None, 200)


async def test_a_cut_request_never_reached_the_server(client, faults):
    """When a request is cut, the client gets no answer and the homeserver never sees the request."""
    faults.cut(path="/createRoom")

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.create_room()

    assert await client.rooms() == []
    (entry,) = faults.transcript.entries(path="/createRoom")
    assert (entry.status, entry.reached_server) == (None, False)


async def test_a_held_response_was_committed_and_comes_when_the_fault_ends(client, faults):
    """A held response arrives when the fault ends; the homeserver has done what was asked before that."""
    with faults.hold_response(path="/createRoom") as held:
        creating = asyncio.ensure_future(client.create_room())
        await held.until_hit()
        await until(lambda: exists(client), "the room to exist")
        answered_early = creating.done()
    status, _, _ = await creating

    assert not answered_early
    assert status == 200


async def test_a_stalled_request_reaches_the_server_when_the_fault_ends(client, faults):
    """A stalled request reaches the homeserver only when the fault ends."""
    with faults.stall(path="/createRoom") as stalled:
        creating = asyncio.ensure_future(client.create_room())
        await stalled.until_hit()
        meanwhile = await client.rooms()
    status, _, _ = await creating

    assert meanwhile == []
    assert status == 200
    assert len(await client.rooms()) == 1


async def test_a_stalled_request_whose_client_gave_up_is_never_carried_out(client, faults):
    """A stalled request whose client closes the connection never reaches the homeserver."""
    with faults.stall(path="/createRoom") as stalled:
        creating = asyncio.ensure_future(client.create_room())
        await stalled.until_hit()
        creating.cancel()
        await asyncio.wait({creating})
        (entry,) = faults.transcript.entries(path="/createRoom")
        await until(lambda: bool(entry.note), "the proxy to notice")

    assert not entry.reached_server
    assert await client.rooms() == []
    assert "client closed the connection" in entry.note


async def test_what_a_killed_client_sent_last_hits_no_later_fault(faults, homeserver):
    """The request waits in the proxy's socket until the client is dead and the fault is there."""
    busy = threading.Event()
    faults._loop.call_soon_threadsafe(busy.wait, 10)
    with socket.create_connection(faults.url.removeprefix("http://").split(":")) as dead:
        dead.sendall(b"GET /_matrix/client/versions HTTP/1.1\r\nHost: localhost\r\n\r\n")

    with faults.error(503, path="/versions") as rule:
        busy.set()
        await until(lambda: faults.transcript.entries(), "the request in the transcript")
        async with aiohttp.ClientSession() as session, session.get(faults.url + "/_matrix/client/versions") as refused:
            status = refused.status

    assert status == 503
    assert rule.hits == 1


async def test_a_delay_is_over_early_when_the_fault_ends(client, faults):
    """A delay makes an answer late by as much as was asked, and lets it go when the fault ends."""
    with faults.delay(0.3):
        began = time.monotonic()
        await client.whoami()
        late_s = time.monotonic() - began
    with faults.delay(600) as rule:
        asking = asyncio.ensure_future(client.whoami())
        await rule.until_hit()
    status, _, _ = await asyncio.wait_for(asking, scaled(10))  # long before its 600 s are over

    assert late_s >= 0.3
    assert status == 200


async def test_a_truncated_body_ends_in_the_middle(client, faults):
    """A truncated body ends with a lost connection, or, well framed, as an answer whose JSON is broken."""
    with faults.truncate(path="/sync"), pytest.raises(aiohttp.ClientPayloadError):
        await client.call("GET", "/sync")
    with faults.truncate(path="/sync", well_framed=True):
        status, body, _ = await client.call("GET", "/sync")

    assert status == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(body)


async def test_a_fault_can_wait_for_the_answer_that_it_is_meant_for(client, faults):
    """A fault with `containing` hits only answers with that text; others pass without a count or a note."""
    with faults.truncate(containing=client.account.user_id, times=1) as cut:
        await client.rooms()
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.whoami()
        await client.whoami()
    with faults.drop_response(containing="room_id") as dropped:
        await client.whoami()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.create_room()  # a POST, which aiohttp does not repeat by itself
    with faults.hold_response(containing=client.account.user_id) as held:
        await client.rooms()
        asking = asyncio.ensure_future(client.whoami())
        await held.until_hit()
        blamed = [(entry.path.rpartition("/")[2], entry.rule is not None) for entry in faults.transcript.entries()]

    assert (await asking)[0] == 200
    assert [rule.hits for rule in (cut, dropped, held)] == [1, 1, 1]
    assert blamed == [
        ("joined_rooms", False), ("whoami", True), ("whoami", False),
        ("whoami", False), ("createRoom", True),
        ("joined_rooms", False), ("whoami", True),
    ]  # fmt: skip


@pytest.mark.not_behind("woken-with-nothing", because="the open long poll is answered with nothing")
async def test_a_fault_for_an_answer_hits_a_long_poll_that_was_open_before(client, faults):
    """A fault that looks at answers also hits a long-poll that was open when the fault began."""
    _, body, _ = await client.call("GET", "/sync")
    polling = asyncio.ensure_future(client.call("GET", "/sync", since=json.loads(body)["next_batch"], timeout="30000"))
    await until(lambda: len(faults.transcript.entries(path="/sync")) == 2, "the long-poll")

    with faults.truncate(path="/sync", containing="m.room.create", times=1) as cut:
        await client.create_room()
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(polling, 15)

    assert cut.hits == 1


async def test_offline_ends_open_long_polls_too(client, faults):
    """`faults.offline` cuts open long-polls at once and refuses new requests until it ends."""
    _, body, _ = await client.call("GET", "/sync")
    since = json.loads(body)["next_batch"]
    polling = asyncio.ensure_future(client.call("GET", "/sync", since=since, timeout="30000"))
    await until(lambda: len(faults.transcript.entries(path="/sync")) == 2, "the long-poll")

    with faults.offline():
        with pytest.raises(aiohttp.ClientConnectionError):
            await asyncio.wait_for(polling, 5)
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.whoami()

    assert (await client.whoami())[0] == 200


async def test_choices_can_be_combined(client, faults):
    """A fault hits what all its choices fit: path, method, query, requests to skip. The oldest such fault counts."""
    faults.error(500, path=re.compile(r"/joined_rooms$"), skip=1, times=1)
    faults.error(503, method="GET", where=lambda call: "since" in call.query)
    faults.error(504, path="/sync", method="POST")
    faults.error(502, path="/sync", where=lambda call: "since" in call.query)

    statuses = [(await client.call("GET", "/joined_rooms"))[0] for _ in range(3)]

    assert statuses == [200, 500, 200]
    assert (await client.call("GET", "/sync"))[0] == 200
    assert (await client.call("GET", "/sync", since="s1"))[0] == 503


async def test_chance_is_the_same_in_every_run(homeserver, account):
    """Two proxies with the same seed hit the same requests."""
    runs = []
    for _ in range(2):
        async with fault_proxy(homeserver, seed=7) as faults, client_through(faults, account) as client:
            faults.error(500, probability=0.5)
            runs.append([(await client.whoami())[0] for _ in range(12)])

    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


async def test_it_serves_while_the_loop_of_the_test_is_busy(faults):
    """The proxy has a thread of its own, so it serves a request that blocks the loop of the test."""
    faults.delay(0.1)
    with urllib.request.urlopen(f"{faults.url}/_matrix/client/versions", timeout=5) as response:  # noqa: ASYNC210 - it blocks on purpose
        assert response.status == 200


@pytest.mark.not_behind("login-without-a-token", because="its client always sends its token")
async def test_the_transcript_holds_no_secret(homeserver, faults):
    """The transcript shows requests and error answers, without any password or token."""
    account = await register(homeserver, unique_localpart("alice", "faults"), "a-Very-secret-0ne")
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": account.localpart},
        "password": account.password,
    }
    async with client_through(faults, account) as client:
        _, logged_in, _ = await client.call("POST", "/login", login)
        await client.call("POST", "/login", {**login, "password": "wrong-but-Secret"})
        await client.call("GET", "/joined_rooms", access_token=account.access_token)

    text = faults.transcript.text()

    assert account.localpart in text
    assert "M_FORBIDDEN" in text
    secrets = (account.password, "wrong-but-Secret", account.access_token, json.loads(logged_in)["access_token"])
    assert [secret for secret in secrets if secret in text] == []


async def test_a_dead_homeserver_is_a_lost_connection_and_comes_back_at_the_same_url(fresh_homeserver):
    """A client of the proxy loses its connection when the homeserver dies, and reaches it again at the same URL."""
    server = await fresh_homeserver()
    account = await register(server, "alice")
    async with fault_proxy(server) as faults, client_through(faults, account) as client:
        before, _, _ = await client.whoami()
        await server.kill()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.whoami()
        note = faults.transcript.entries()[-1].note
        await server.start_again()
        after, _, _ = await client.whoami()

    assert (before, after) == (200, 200)
    assert "homeserver gave no answer" in note


async def test_closing_ends_the_thread_and_what_is_held(homeserver, account):
    """Closing the proxy ends its thread, and a stalled request fails without reaching the homeserver."""
    async with fault_proxy(homeserver) as faults, client_through(faults, account) as client:
        stalled = faults.stall()
        asking = asyncio.ensure_future(client.whoami())
        await stalled.until_hit()
        began = time.monotonic()
        faults.close()
        with pytest.raises(aiohttp.ClientError):
            await asking

    assert time.monotonic() - began < 3
    assert not faults._thread.is_alive()
    assert [entry.server_status for entry in faults.transcript.entries()] == [None], "it was passed on at the end"


async def test_a_fault_that_is_never_hit_says_what_it_saw(faults, client):
    """`until_hit` fails with the name of the fault, its hits, and the number of requests that fit."""
    rule = faults.rate_limited(path="/send/", skip=1)

    with pytest.raises(
        NotMet, match=r"for the fault “429 on /send/” to hit 1 request\(s\).*\n.*\n.*0 hit\(s\), 0 match"
    ):
        await rule.until_hit(timeout_s=0.1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"times": 0}, "times must be at least 1"),
        ({"probability": 2}, "probability must be above 0 and at most 1, not 2"),
        ({"user": "alice"}, "must be a Matrix id like @alice:greenroom.test, not 'alice'"),
        ({"path": "/sync?since=1"}, "path has no query"),
    ],
)
async def test_a_choice_that_can_never_fit_is_refused(faults, wrong, says):
    """A fault whose choices fit no request is refused when it is made."""
    with pytest.raises(Misuse, match=says):
        faults.cut(**wrong)


async def test_our_bot_behind_the_proxy_answers_once_through_lost_and_limited_replies(person, bot, faults):
    """A bot whose replies are lost or rate-limited at the proxy still answers each message once."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)

    with faults.drop_response(path="/send/", user=greenroom, times=1) as dropped:
        first = await must.answer(alice, greenroom, scene.chat, "one")
    with faults.rate_limited(200, path="/send/", user=greenroom, times=2) as limited:
        second = await must.answer(alice, greenroom, scene.chat, "two")
    await must.answer(alice, greenroom, scene.chat, "the end")

    assert (first.body, second.body, dropped.hits, limited.hits) == ("one", "two", 1, 2)
    assert await said(alice, greenroom, scene.chat) == ["one", "two", "the end"]
