"""The proxy notes which events a sync brought to a client, and only if the client received the answer."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from greenroom.faults import fault_proxy
from greenroom.faults.brought import KEPT_IDS, brought_by
from greenroom.waiting import until

SYNC = "/_matrix/client/v3/sync"


def event(event_id: str, at_ms: int = 1, **content: Any) -> dict[str, Any]:
    """Return a timeline event as a homeserver sends it."""
    return {"event_id": event_id, "type": "m.room.message", "origin_server_ts": at_ms, "content": content}


def sync_answer(**rooms: dict[str, Any]) -> bytes:
    """Return the answer to a sync with rooms by membership."""
    return json.dumps({"next_batch": "s1", "rooms": rooms}).encode()


def timeline(*events: dict[str, Any]) -> dict[str, Any]:
    """Return the timeline of a room."""
    return {"timeline": {"events": list(events), "limited": False}}


REPLY = event("$2", 2, **{"m.relates_to": {"m.in_reply_to": {"event_id": "$old"}}})
STATE = {"state": {"events": [event("$state")]}}


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (sync_answer(join={"!a": timeline(event("$1"), REPLY) | STATE}), ("$1", "$2")),
        (sync_answer(join={"!a": timeline(event("$9", 9)), "!b": timeline(event("$8", 8))}), ("$8", "$9")),
        (sync_answer(leave={"!a": timeline(event("$kick"))}, invite={"!c": {"invite_state": {}}}), ("$kick",)),
        (json.dumps({"pos": "1", "rooms": {"!a": {"timeline": [event("$1")]}}}).encode(), ("$1",)),
        (b'{"next_batch": "s1"}', ()),
        (b'{"rooms": {"join": {"!a": {"timeline": {"events": [{"event_id"', ()),
        (b'["timeline"]', ()),
        (b'{"rooms": {"join": ["timeline"]}}', ()),
    ],
    ids=["timeline", "two rooms", "kick", "sliding sync", "empty", "half", "a list", "odd"],
)
def test_the_timeline_events_of_a_sync_are_noted(body, ids):
    """Timelines count, oldest event first. State does not, nor what an event replies to."""
    assert brought_by(body) == ids


def test_of_very_many_events_the_latest_are_noted():
    """A large initial sync must not fill the memory, and the question of a test is among the latest events."""
    many = [event(f"${number}", number) for number in range(KEPT_IDS + 3)]

    assert brought_by(sync_answer(join={"!a": timeline(*many)}))[:1] == ("$3",)


@asynccontextmanager
async def proxied(body: bytes):
    """Run a server that answers every request with `body`, and a proxy in front of it."""

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = SimpleNamespace(url=f"http://127.0.0.1:{runner.addresses[0][1]}", server_name="hs1")
    try:
        async with fault_proxy(server) as proxy, aiohttp.ClientSession() as session:
            yield proxy, session
    finally:
        await runner.cleanup()


async def ended(proxy) -> Any:
    """Return the last request of the transcript when all are over: some clients try again without a word."""
    await until(lambda: all(e.duration_s is not None for e in proxy.transcript), "the requests to end", timeout_s=5)
    return proxy.transcript.entries()[-1]


async def test_a_sync_that_arrives_brings_its_events():
    """The entry of a sync names its events; another request with the same answer brings none."""
    body = sync_answer(join={"!a": timeline(event("$1"))})
    async with proxied(body) as (proxy, session):
        async with session.get(proxy.url + SYNC) as answer:
            assert await answer.read() == body
        async with session.get(proxy.url + "/_matrix/client/v3/rooms/!a/messages") as answer:
            await answer.read()

        await ended(proxy)
        assert [entry.brought for entry in proxy.transcript] == [("$1",), ()]


@pytest.mark.parametrize("fault", ["drop_response", "truncate", "cut", "error", "html"])
async def test_a_sync_that_a_fault_spoils_brings_nothing(fault):
    """The homeserver has sent the events, but the client did not receive them."""
    async with proxied(sync_answer(join={"!a": timeline(event("$1"))})) as (proxy, session):
        with getattr(proxy, fault)():
            try:
                async with session.get(proxy.url + SYNC) as answer:
                    await answer.read()
            except aiohttp.ClientError:
                pass

        await ended(proxy)
        assert {entry.brought for entry in proxy.transcript} == {()}


async def test_a_client_that_leaves_before_the_answer_gets_nothing():
    """A sync that the client gave up has no status and brings nothing."""
    async with proxied(sync_answer(join={"!a": timeline(event("$1"))})) as (proxy, session):
        with proxy.hold_response():
            with pytest.raises(TimeoutError):
                await session.get(proxy.url + SYNC, timeout=aiohttp.ClientTimeout(total=0.2))

            entry = await ended(proxy)
        assert (entry.brought, entry.status, entry.note) == (
            (),
            None,
            "the client closed the connection, or the proxy closed",
        )


async def test_a_client_that_stops_reading_and_leaves_gets_nothing():
    """An answer that is larger than the buffers of a socket is not received before the client reads it."""
    large = sync_answer(join={"!a": timeline(event("$1", text="x" * 20_000_000))})
    async with proxied(large) as (proxy, session):
        answer = await session.get(proxy.url + SYNC)
        time.sleep(0.05)  # noqa: ASYNC251 - the client reads nothing meanwhile
        answer.close()

        entry = await ended(proxy)
        assert (entry.brought, entry.status) == ((), None)
