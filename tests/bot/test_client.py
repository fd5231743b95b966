"""Every answer of the homeserver becomes a value or a MatrixError, also where matrix-nio calls a failure a success."""

from __future__ import annotations

import contextlib

import nio
import pytest

from greenroom_bot.matrix.client import Client, WriteRefused, ok
from greenroom_bot.matrix.errors import MatrixError, SessionOver
from tests.bot.factory import ALICE, ME

NIO_CALLS = {
    "send": (lambda c: c.room_send("!r", "m.room.message", {"body": "x"}, tx_id="t"), nio.RoomSendResponse),
    "createRoom": (lambda c: c.room_create(), nio.RoomCreateResponse),
    "join": (lambda c: c.join("!r"), nio.JoinResponse),
    "sync": (lambda c: c.sync(), nio.SyncResponse),
    "whoami": (lambda c: c.whoami(), nio.WhoamiResponse),
    "keys": (lambda c: c.keys_upload(), nio.KeysUploadResponse),
}
EMPTY_MEANS_DONE = {
    "leave": (lambda c: c.room_leave("!r"), nio.RoomLeaveResponse),
    "forget": (lambda c: c.room_forget("!r"), nio.RoomForgetResponse),
}
"""Calls whose success is an empty object: a page under a status of 200 cannot be told from it."""


@pytest.mark.parametrize(
    ("status", "call"),
    [*((502, name) for name in (*NIO_CALLS, *EMPTY_MEANS_DONE)), *((200, name) for name in NIO_CALLS)],
)
async def test_an_html_page_is_a_passing_failure_whatever_its_status(server, client, call, status):
    """A proxy's page is no answer of the homeserver: nio takes some of them for success."""
    server.room("!r")
    client.know_room("!r", encrypted=False)
    server.fail(".*", status)
    begin, expected = {**NIO_CALLS, **EMPTY_MEANS_DONE}[call]

    with pytest.raises(MatrixError) as failed:
        await ok(begin(client), expected)

    assert failed.value.status == status
    assert failed.value.passing
    assert not failed.value.definite


@pytest.mark.parametrize("status", [502, 200])
@pytest.mark.parametrize(
    "call",
    [lambda c: c.request("POST", "createRoom"), lambda c: c.sync(full_state=True)],
    ids=["createRoom", "snapshot"],
)
async def test_an_html_page_to_a_plain_request_is_a_passing_failure(server, client, call, status):
    """A request that does not go through nio's classes fails alike; the page's beginning is in the message."""
    server.fail(".*", status)

    with pytest.raises(MatrixError, match="Bad Gateway") as failed:
        await call(client)

    assert failed.value.status == status
    assert failed.value.passing
    assert not failed.value.definite


async def test_a_403_on_a_state_event_is_a_refusal(server, client):
    """nio returns its success class, with the error in the content."""
    server.fail("state", 403, {"errcode": "M_FORBIDDEN", "error": "not in the room"})

    with pytest.raises(MatrixError) as failed:
        await ok(client.room_get_state_event("!r", "m.room.name"), nio.RoomGetStateEventResponse)

    assert failed.value.status == 403
    assert not failed.value.passing


@pytest.mark.parametrize("how", ["request", "nio"])
async def test_a_cut_connection_may_have_had_an_effect(server, client, how):
    """No answer came, so nothing is known: not definite, and worth asking again."""
    server.fail("createRoom", None)

    with pytest.raises(MatrixError) as failed:
        await (client.request("POST", "createRoom") if how == "request" else ok(client.room_create(), nio.Response))

    assert (failed.value.status, failed.value.definite, failed.value.passing) == (None, False, True)


async def test_a_refused_connection_certainly_had_no_effect(tmp_path):
    """Nobody listens there."""
    client = Client("http://127.0.0.1:1", ME, store_path=str(tmp_path))

    with pytest.raises(MatrixError) as failed:
        await client.request("POST", "createRoom")
    await client.close()

    assert (failed.value.definite, failed.value.passing) == (True, True)


async def test_a_rate_limit_is_reported_at_once_with_the_time_to_wait(server, client):
    """nio would sleep and repeat inside the call, without limit."""
    server.room("!r")
    client.know_room("!r", encrypted=False)
    server.fail(".*", 429, {"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 1234}, times=2)

    for call in (
        client.request("PUT", "rooms", "!r", "state", "m.room.name"),
        ok(client.room_send("!r", "m.room.message", {}, tx_id="t"), nio.RoomSendResponse),
    ):
        with pytest.raises(MatrixError) as failed:
            await call
        assert failed.value.rate_limited
        assert failed.value.retry_after_ms == 1234

    assert len(server.requests) == 2


@pytest.mark.parametrize("retry_after", [None, "soon", -5, 1.5])
async def test_an_unusable_retry_after_is_ignored(server, client, retry_after):
    """Then the usual back-off applies."""
    server.fail(".*", 429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": retry_after})

    with pytest.raises(MatrixError) as failed:
        await client.request("GET", "joined_rooms")

    assert failed.value.retry_after_ms is None


async def test_a_dead_token_is_told_apart_from_other_refusals(server, client):
    """M_UNKNOWN_TOKEN on a 401 raises SessionOver, whichever way the request went out, also inside nio's own steps."""
    server.devices.clear()

    for call in (client.request("GET", "joined_rooms"), client.room_state("!r"), client.sync(), client.keys_claim({})):
        with pytest.raises(SessionOver, match="M_UNKNOWN_TOKEN") as failed:
            await call
        assert not isinstance(failed.value, MatrixError)
        assert failed.value.exit_code == 4


@pytest.mark.parametrize(("status", "errcode"), [(403, "M_UNKNOWN_TOKEN"), (401, "M_UNAUTHORIZED"), (401, "")])
async def test_another_refusal_does_not_end_the_session(server, client, status, errcode):
    """Only a 401 with M_UNKNOWN_TOKEN or M_MISSING_TOKEN says that the homeserver does not know the token."""
    server.fail(".*", status, {"errcode": errcode, "error": "no"}, times=2)

    for call in (client.request("GET", "joined_rooms"), ok(client.sync(), nio.SyncResponse)):
        with pytest.raises(MatrixError) as failed:
            await call
        assert (failed.value.status, failed.value.errcode) == (status, errcode)


async def test_a_success_of_another_shape_is_a_failure(server, client):
    """A list where an object should be, and the other way round."""
    server.fail("GET /joined_rooms", 200, ["!r"])
    server.fail("state", 200, {"errcode": "weird"})

    with pytest.raises(MatrixError):
        await client.request("GET", "joined_rooms")
    with pytest.raises(MatrixError):
        await client.room_state("!r")


async def test_identifiers_are_quoted_into_the_path(server, client):
    """A room id or state key may hold slashes and question marks."""
    await _quietly(client.request("PUT", "rooms", "!a/b?c#d", "state", "t", "k/%2F", body={"x": 1}))

    assert server.requests[-1].path == "/rooms/!a/b?c#d/state/t/k/%2F"
    assert server.requests[-1].query == {}


# The lock against writing, and the counters


@pytest.mark.parametrize(
    "write",
    [
        lambda c: c.request("POST", "createRoom"),
        lambda c: c.request("PUT", "user", ME, "account_data", "m.direct"),
        lambda c: c.room_send("!r", "m.room.message", {}, tx_id="t"),
        lambda c: c.room_leave("!r"),
        lambda c: c.join("!r"),
        lambda c: c.room_typing("!r"),
        lambda c: c.room_read_markers("!r", "$e"),
        lambda c: c.set_presence("online"),
        lambda c: c.set_displayname("x"),
    ],
    ids=["createRoom", "account_data", "send", "leave", "join", "typing", "read", "presence", "displayname"],
)
async def test_a_read_only_client_refuses_every_write_before_the_network(server, client, write):
    """The lock that start-up and reconciliation run under."""
    client.know_room("!r", encrypted=False)
    client.read_only = True

    with pytest.raises(WriteRefused):
        await write(client)

    assert server.requests == []
    assert client.writes == 0


async def test_reading_logging_in_and_key_upkeep_are_no_writes(server, client):
    """They change nothing that another person can see."""
    client.read_only = True

    await client.request("GET", "joined_rooms")
    await ok(client.keys_upload(), nio.KeysUploadResponse)
    await client.request("POST", "logout")

    assert (client.requests, client.writes) == (3, 0)


async def test_requests_and_writes_are_counted_at_the_http_layer(server, client):
    """Whoever makes them."""
    room = server.room("!r")
    client.know_room(room.room_id, encrypted=False)

    await client.request("GET", "joined_rooms")
    await client.request("POST", "createRoom", body={"name": "x"})
    await ok(client.room_send("!r", "m.room.message", {"body": "hi"}, tx_id="t"), nio.RoomSendResponse)

    assert (client.requests, client.writes) == (3, 2)


# Syncs that nio cannot take


async def test_a_left_version_12_room_without_state_does_not_break_the_sync(server, client):
    """nio raises out of sync() on it."""
    bare = {"next_batch": "s9", "rooms": {"leave": {"!no-server-name": {}}}}
    server.fail("sync", 200, bare)

    response = await ok(client.sync(), nio.SyncResponse)

    assert list(response.rooms.leave) == ["!no-server-name"]


@pytest.mark.parametrize(
    "rooms",
    [None, [], "x", {"leave": None}, {"leave": []}, {"invite": 3}],
    ids=str,
)
async def test_a_sync_of_a_wrong_shape_is_a_failure_or_empty_never_a_crash(server, client, rooms):
    """A MatrixError at most, which is waited out."""
    server.fail("sync", 200, {"next_batch": "s9", "rooms": rooms}, times=2)

    await _quietly(ok(client.sync(), nio.SyncResponse))
    await _quietly(client.sync(full_state=True))


async def test_a_snapshot_hands_no_event_to_any_callback(server, client):
    """It is kept as JSON; nio's model, which merges and drops, does not see it."""
    seen = []
    client.add_event_callback(lambda *event: seen.append(event), nio.Event)
    chat = server.chat()
    await server.say(chat, "old", ALICE)

    snapshot = await client.sync(full_state=True)

    assert seen == []
    assert client.rooms == {}
    assert "!chat" in snapshot["rooms"]["join"]
    assert client.snapshot is snapshot


async def test_a_snapshot_without_a_position_is_a_failure(server, client):
    """A proxy's `{}` under a status of 200 is no picture of an empty account."""
    server.fail("sync", 200, {})

    with pytest.raises(MatrixError, match="the answer has no next_batch"):
        await client.sync(full_state=True)

    assert client.snapshot is None


async def test_a_failed_snapshot_leaves_none_behind(server, client):
    """Or an old one would be reconciled from."""
    await client.sync(full_state=True)
    server.fail("sync")

    await _quietly(client.sync(full_state=True))

    assert client.snapshot is None


async def _quietly(call) -> None:
    with contextlib.suppress(MatrixError):
        await call
