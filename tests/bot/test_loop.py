"""The live loop: it waits while the server is away, ends on a dead token, and survives what strangers send."""

from __future__ import annotations

import asyncio
import contextlib

import nio
import pytest

from greenroom_bot.matrix.errors import SessionOver
from tests.bot.factory import ALICE, event
from tests.bot.looping import running

# Failures


@pytest.mark.parametrize("errcode", ["M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"])
async def test_a_dead_token_ends_the_loop_after_one_request(server, client, errcode):
    """nio would spin at over a thousand requests a second."""
    server.fail("sync", 401, {"errcode": errcode, "error": "gone"}, times=99)

    with pytest.raises(SessionOver, match=errcode):
        await client.sync_forever()

    assert len(server.requests) == 1
    assert client.waits == []


@pytest.mark.parametrize("status", [500, 502, 504, 404, 403, None])
async def test_a_failing_server_is_waited_for_with_growing_pauses(server, client, batches, status):
    """One request per pause; then life goes on from the same position."""
    server.chat()
    failing = server.fail("sync", status, times=6)

    await running(server, client, lambda: batches)

    assert failing.times == 0
    assert len(client.waits) == (6 if status else 3)  # aiohttp itself repeats a GET whose connection was cut, once
    assert client.waits == sorted(client.waits)
    assert server.requests[0].query["since"] == server.requests[6].query["since"] == "s0"
    assert server.requests[0].query["filter"] == server.requests[6].query["filter"]


async def test_a_rate_limit_is_waited_for_as_long_as_the_server_asks(server, client, batches):
    """retry_after_ms counts in full."""
    server.chat()
    server.fail("sync", 429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 7000})

    await running(server, client, lambda: batches)

    assert 7.0 <= client.waits[0] < 7.1


async def test_a_200_with_a_html_body_is_no_sync(server, client, batches):
    """A captive portal or a proxy's page."""
    server.chat()
    server.fail("sync", 200)

    await running(server, client, lambda: batches)

    assert len(client.waits) == 1


@pytest.mark.parametrize("rooms", [{"leave": {"!r": None}}, {"join": {"!r": []}}, {"invite": {"!r:x": 1}}], ids=str)
async def test_a_sync_that_trips_nio_up_is_waited_out(server, client, heard, rooms):
    """nio's schema lets some answers through that its code then raises on."""
    chat = server.chat()
    await server.say(chat, "hello")
    server.fail("sync", 200, {"next_batch": "s9999", "rooms": rooms})

    await running(server, client, lambda: heard)

    assert heard == ["hello"]
    assert len(client.waits) == 1


async def test_the_server_being_away_and_back_is_logged(server, client, batches, log_lines):
    """One line per failed attempt, one when it is over."""
    server.chat()
    server.fail("sync", times=2)

    await running(server, client, lambda: batches)

    told = [line["event"] for line in log_lines if line["event"].startswith("homeserver_")]
    assert told == ["homeserver_unreachable", "homeserver_unreachable", "homeserver_back"]


@pytest.mark.parametrize(
    ("status", "event"),
    [(None, "homeserver_unreachable"), (502, "homeserver_unreachable"), (403, "sync_refused"), (404, "sync_refused")],
)
async def test_a_refused_sync_is_not_logged_as_an_unreachable_server(server, client, batches, log_lines, status, event):
    """A homeserver that answers with a refusal is reachable: the log says which of the two it was."""
    server.chat()
    server.fail("sync", status, {"errcode": "M_FORBIDDEN"} if status == 403 else None, times=2)

    await running(server, client, lambda: batches)

    assert {line["event"] for line in log_lines if "retry_in_s" in line} == {event}
    back = [line["event"] for line in log_lines if "after_attempts" in line]
    assert back == ["homeserver_back" if event == "homeserver_unreachable" else "sync_back"]


async def test_a_rate_limited_sync_is_logged_as_a_refusal(server, client, batches, log_lines):
    """429 is an answer: the server asks for patience."""
    server.chat()
    server.fail("sync", 429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1})

    await running(server, client, lambda: batches)

    assert [line["event"] for line in log_lines if "retry_in_s" in line] == ["sync_refused"]


async def test_a_sync_that_neither_answers_nor_fails_is_begun_anew(server, client, batches, monkeypatch):
    """The watchdog."""
    monkeypatch.setattr("greenroom_bot.matrix.sync.WATCHDOG_EXTRA_S", 0.05)
    chat = server.chat()
    real, client.next_batch, calls = client.sync, "s0", []

    async def hanging(*args, **kwargs):
        calls.append(args)
        return await (asyncio.Event().wait() if len(calls) == 1 else real(*args, **kwargs))

    monkeypatch.setattr(client, "sync", hanging)
    loop = asyncio.create_task(client.sync_forever(timeout=1))
    await server.until(lambda: batches)
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop

    assert len(client.waits) == 1
    assert chat.room_id in batches[0].rooms.join


async def test_stopping_interrupts_a_long_poll_at_once(server, client, batches):
    """Nobody waits 30 s for a bot to end."""
    server.chat()

    await running(server, client, lambda: server.count("sync") == 2)

    assert batches


async def test_a_failure_while_handing_over_repeats_the_batch(server, client, batches):
    """nio moves its position first and would lose the batch for good."""
    chat = server.chat()
    await server.say(chat, "hello")
    attempts = []

    async def fragile(_, message):
        attempts.append(message.body)
        if len(attempts) == 1:
            raise RuntimeError("handler's own mistake")

    client.add_event_callback(fragile, nio.RoomMessageText)

    await running(server, client, lambda: batches)

    assert attempts == ["hello", "hello"]
    assert len(client.waits) == 1


async def test_a_sync_with_the_position_that_we_have_changes_nothing(server, client, batches, heard):
    """nio ignores it; so does the loop, without spinning or failing."""
    chat = server.chat()
    await server.say(chat, "once")
    server.fail("sync", 200, {"next_batch": "s0", "rooms": {}})

    await running(server, client, lambda: heard)

    assert heard == ["once"]
    assert len(batches) == 2


async def test_an_encryption_key_upkeep_that_fails_does_not_hold_up_messages(server, client, heard, log_lines):
    """It is tried again after the next sync."""
    chat = server.chat()
    await server.say(chat, "hello")
    server.fail("keys", times=99)
    client.olm.account.shared = False

    await running(server, client, lambda: heard)

    assert heard == ["hello"]


# A position that the server does not know


@pytest.mark.parametrize("failures_meanwhile", [0, 1, 3])
async def test_an_unknown_position_is_replaced_without_replaying_old_messages(
    server, client, heard, batches, failures_meanwhile
):
    """Another or a restored server: go on from now, also when taking the new position fails at first."""
    chat = server.chat()
    await server.say(chat, "old")
    server.fail("sync", 400, {"errcode": "M_UNKNOWN", "error": "Invalid since token"})
    server.fail("sync", 502, times=failures_meanwhile)

    async def later():
        await server.until(lambda: server.count("sync") >= 3 + failures_meanwhile)
        await server.say(chat, "new")

    speaking = asyncio.create_task(later())
    await running(server, client, lambda: heard, since="s-of-another-server")
    await speaking

    assert heard == ["new"]


async def test_a_token_that_dies_while_taking_a_new_position_ends_the_loop(server, client):
    """Not an endless wait for a position."""
    server.fail("sync", 400, {"errcode": "M_UNKNOWN", "error": "Invalid since token"})
    server.fail("sync", 401, {"errcode": "M_UNKNOWN_TOKEN"}, times=9)
    client.next_batch = "s-of-another-server"

    with pytest.raises(SessionOver):
        await client.sync_forever()

    assert len(server.requests) == 2


# What strangers send


def encrypted_for(client, body):
    """An encrypted to-device message as anybody on the homeserver can send it: the key in it is public."""
    key = client.olm.account.identity_keys["curve25519"]
    content = {
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": "c" * 43,
        "ciphertext": {key: {"type": 0, "body": body}},
    }
    return {"type": "m.room.encrypted", "sender": "@mallory:evil", "content": content}


@pytest.mark.parametrize("body", ["x", "", "AAAA"])
async def test_a_strangers_broken_to_device_message_does_not_stop_the_sync(server, client, heard, log_lines, body):
    """It raises in nio; the same sync would come again for ever, after restarts too."""
    chat = server.chat()
    message = encrypted_for(client, body)
    answer = nio.SyncResponse.from_dict({"next_batch": "s1", "rooms": {}, "to_device": {"events": [message]}})

    await client.receive_response(answer)
    since = f"s{server._now}"
    await server.say(chat, "still here?")
    await running(server, client, lambda: heard, since=since)

    assert heard == ["still here?"]
    (line,) = [line for line in log_lines if line["event"] == "to_device_unreadable"]
    assert line["sender"] == "@mallory:evil"


async def test_an_event_that_nio_fails_to_decrypt_does_not_stop_the_sync(server, client, heard, log_lines, monkeypatch):
    """An encrypted `[]` instead of an event, say."""
    chat = server.chat()
    content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "c", "session_id": "s", "sender_key": "k"}

    def fail(encrypted):
        raise TypeError("list indices must be integers")

    monkeypatch.setattr(client.olm, "_decrypt_megolm_no_error", fail)
    since = f"s{server._now}"
    await server.add(chat, event("m.room.encrypted", {**content, "device_id": "D"}, sender=ALICE))
    await server.say(chat, "still here?")
    await running(server, client, lambda: heard, since=since)

    assert heard == ["still here?"]
    assert [line["seen"] for line in log_lines if line["event"] == "event_unreadable"] == ["TypeError"]


async def test_the_watchdog_watches_the_sync_and_not_the_filling_of_its_gaps(
    server, client, heard, log_lines, monkeypatch
):
    """A slow history would be begun anew for ever."""
    monkeypatch.setattr("greenroom_bot.matrix.sync.WATCHDOG_EXTRA_S", -29.8)  # 0.2 s in all
    chat = server.chat()
    since = f"s{server._now}"
    for number in range(60):
        await server.say(chat, f"m{number}")
    gate = server.hold("GET /rooms/!chat/messages")
    asyncio.get_running_loop().call_later(0.5, gate.set)

    await running(server, client, lambda: heard, since=since)

    assert heard == [f"m{n}" for n in range(60)]
    assert [line for line in log_lines if line["event"] == "homeserver_unreachable"] == []


async def test_a_failure_of_nio_between_syncs_is_no_failure_of_the_sync(server, client, heard, log_lines, monkeypatch):
    """What a sync brought is handled and counts."""

    async def fail():
        raise KeyError("a device that nobody knows")

    monkeypatch.setattr(client, "send_to_device_messages", fail)
    chat = server.chat()
    since = f"s{server._now}"
    await server.say(chat, "hello")

    failures = lambda: [line["seen"] for line in log_lines if line["event"] == "key_upkeep_failed"]  # noqa: E731
    await running(server, client, failures, since=since)

    assert heard == ["hello"]
    assert set(failures()) == {"KeyError"}
    assert [line for line in log_lines if line["event"] == "sync_handling_failed"] == []
