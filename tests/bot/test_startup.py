"""The order in which the bot starts, read off the wire and off the log."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from greenroom_bot.matrix.sync import LiveClient
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.reconcile import reconcile_matrix_state
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import SNAPSHOT_FILTER
from tests.bot.factory import ALICE, CAROL, CHAT_ROW, ME


async def test_the_bot_starts_in_the_fixed_order(server, start):
    """Authenticate, tokenless full-state snapshot, joined_rooms, report, then live syncs from the saved position.

    The devices are asked for because the rooms are there although the bot has no position.
    """
    server.space("!chat")
    server.chat()

    run = await start().live()
    await server.until(lambda: server.count("GET /sync") >= 3)
    await run.stop()

    order = [path for path in server.paths() if "/keys/" not in path]
    wanted = ["POST /login", "GET /sync", "GET /sync", "GET /joined_rooms", "GET /devices", "GET /sync"]
    assert order[: len(wanted)] == wanted
    snapshot, changes, live = [r for r in server.requests if r.path == "/sync"][:3]
    assert "since" not in snapshot.query
    assert snapshot.query["full_state"] == "true"
    assert snapshot.query["timeout"] == "0"
    assert json.loads(snapshot.query["filter"]) == SNAPSHOT_FILTER
    assert changes.query["since"] == live.query["since"]
    assert json.loads(changes.query["filter"]) == SNAPSHOT_FILTER
    assert live.query.get("full_state", "false") == "false"
    events = [line["event"] for line in run.log_lines]
    wanted = [e for e in events if e in ("logged_in", "room_drifted", "matrix_reconcile_complete", "matrix_live")]
    assert wanted == ["logged_in", "room_drifted", "room_drifted", "matrix_reconcile_complete", "matrix_live"]


async def test_callbacks_are_registered_before_the_snapshot(server, start, monkeypatch):
    """Registering comes after authenticating and before anything is synced."""
    registered_after: list[list[str]] = []
    add = LiveClient.add_event_callback

    def note(client, *args):
        registered_after.append([path for path in server.paths() if "/keys/" not in path])
        add(client, *args)

    monkeypatch.setattr(LiveClient, "add_event_callback", note)

    run = await start().live()
    await run.stop()

    assert registered_after
    assert all(paths == ["POST /login"] for paths in registered_after)


async def test_a_restart_reconciles_once_and_goes_on_from_the_saved_position(server, start):
    """The snapshot is tokenless every time; the live loop continues where handling had come to."""
    server.space("!chat")
    chat = server.chat()
    first = await start().live()
    await server.say(chat, "hello")
    await server.until(lambda: "hello" in chat.said())
    await first.stop()
    position = _position(first)
    before = len(server.requests)

    second = await start().live()
    await server.until(lambda: len([r for r in server.requests[before:] if r.path == "/sync"]) >= 3)
    await second.stop()

    snapshot, changes, live = [r for r in server.requests[before:] if r.path == "/sync"][:3]
    assert "since" not in snapshot.query
    assert changes.query["timeout"] == "0"
    assert live.query["since"] == position
    (report,) = second.logged("matrix_reconcile_complete")
    assert report["outcomes"]["unchanged"] == report["rooms_seen"] == 2
    assert server.paths()[before] == "GET /account/whoami"


async def test_start_up_and_reconciliation_write_nothing_to_the_server(server, start):
    """No room, no invite, no message, no state, however much there is to reconcile; a pending invite waits."""
    server.space("!chat")
    server.chat()
    server.chat("!second", chat_id="C1").member(ALICE, "leave")
    await server.invite("!pending:hs1", CAROL)

    run = start()
    while not run.logged("matrix_reconcile_complete"):
        assert not run.task.done()
        await asyncio.sleep(0)  # the bot shares this loop: no request arrives between its log line and this look
    written_when_live = server.paths(writes_only=True)
    await run.live()
    await run.stop()

    assert written_when_live == []
    (report,) = run.logged("matrix_reconcile_complete")
    assert report["server_writes"] == 0
    assert report["http_requests"] == 3
    assert report["outcomes"]["invite_pending"] == 1


async def test_the_report_is_one_line_whose_counters_add_up(server, start):
    """matrix_reconcile_complete: every outcome has its counter."""
    server.space("!chat")
    server.chat()
    server.room("!theirs", creator=CAROL).member(ME, "join")

    run = await start().live()
    await run.stop()

    (report,) = run.logged("matrix_reconcile_complete")
    assert sum(report["outcomes"].values()) == report["rooms_seen"] == 3
    assert (report["outcomes"]["recovered"], report["outcomes"]["skipped"]) == (2, 1)


async def test_reconciling_many_rooms_takes_no_more_requests_than_one(server, start):
    """Two, whatever the number of rooms."""
    for number in range(30):
        server.chat(f"!chat{number}", chat_id=f"C{number + 1}")

    run = await start().live()
    await run.stop()

    assert run.logged("matrix_reconcile_complete")[0]["http_requests"] == 3


async def test_what_was_said_before_the_first_start_is_not_answered(server, start):
    """The snapshot carries old messages; no handler gets to see them."""
    server.space("!chat")
    chat = server.chat()
    await server.say(chat, "!new old")

    run = await start().live()
    await server.say(chat, "fresh")
    await server.until(lambda: chat.said())
    await run.stop()

    assert chat.said() == ["fresh"]
    assert server.count("createRoom") == 0


async def test_a_lost_position_is_said(server, start):
    """With the database gone the rooms come back, the position does not, and the report says so."""
    server.space("!chat")
    chat = server.chat()
    first = await start().live()
    await first.stop()
    first.config.db_path.unlink()
    await server.say(chat, "said while away")

    second = await start().live()
    await server.say(chat, "fresh")
    await server.until(lambda: chat.said())
    await second.stop()

    assert second.logged("matrix_reconcile_complete")[0]["position_lost"] is True
    assert second.logged("position_lost")
    assert chat.said() == ["fresh"]


async def test_a_first_start_in_rooms_made_for_the_bot_loses_nothing(server, start):
    """Rooms of the bot on a homeserver where it never ran, seeded ones for instance: no database was lost."""
    server.space("!chat")
    chat = server.chat()
    server.devices |= {"other": "ELEMENT", "check": "GREENROOM_CHECK_1", "reset": "GREENROOM_RESET"}

    run = await start().live()
    await server.say(chat, "!status")
    await server.until(lambda: chat.said())
    await run.stop()

    (report,) = run.logged("matrix_reconcile_complete")
    assert (report["outcomes"]["recovered"], report["position_lost"], report["server_writes"]) == (2, False, 0)
    assert not run.logged("position_lost")
    assert "lost" not in chat.said()[0]
    assert server.count("GET /devices") == 1


@pytest.mark.parametrize(
    ("sign", "settings"),
    [
        ({"devices": {"old": "GREENROOMABCDEFGH"}}, {}),
        ({"fault": 404}, {}),
        ({"answer": {"devices": None}}, {}),
        ({"devices": {"given": "SOMEDEVICE"}}, {"access_token": "given", "password": None}),
    ],
    ids=["old device", "no list of devices", "odd list of devices", "access token"],
)
async def test_rooms_without_records_are_a_lost_database_unless_this_is_the_first_start(server, start, sign, settings):
    """With database and store lost, the account's devices tell of an earlier run; what is not known is told as lost."""
    server.space("!chat")
    server.chat()
    server.devices |= sign.get("devices", {})
    if "fault" in sign or "answer" in sign:
        server.fail("GET /devices", sign.get("fault", 200), sign.get("answer", {"errcode": "M_UNRECOGNIZED"}), times=9)

    run = await start(**settings).live()

    assert run.logged("matrix_reconcile_complete")[0]["position_lost"] is True


@pytest.mark.parametrize("lost", [False, True], ids=["first start", "lost database"])
async def test_a_start_that_was_killed_before_it_was_live_does_not_change_what_is_said_of_records(server, start, lost):
    """A database that was bound to its account by a killed start still tells a first start from a lost database."""
    server.space("!chat")
    server.chat()
    if lost:
        earlier = await start().live()
        await earlier.stop()
        earlier.config.db_path.unlink()
    gate = server.hold("GET /sync")
    killed = start()
    await server.until(lambda: server.faults[0].times == 0)
    await killed.stop()
    gate.set()

    run = await start().live()

    assert run.logged("matrix_reconcile_complete")[0]["position_lost"] is lost


async def test_what_was_said_while_the_bot_was_down_is_answered_once_live(server, start):
    """From the saved position on, each once, in order, and only after the report."""
    server.space("!chat")
    chat = server.chat()
    first = await start().live()
    await server.say(chat, "zero")
    await server.until(lambda: chat.said() == ["zero"])
    await first.stop()
    for word in ("one", "two", "three"):
        await server.say(chat, word)

    second = start()
    await server.until(lambda: second.logged("matrix_reconcile_complete"))
    assert chat.said() == ["zero"]
    await second.live()
    await server.until(lambda: len(chat.said()) == 4)
    await second.stop()

    assert chat.said() == ["zero", "one", "two", "three"]


async def test_the_position_of_the_very_first_start_is_kept_at_once(server, start):
    """Killed before its first batch was handled, the bot still answers what was said since it first went live."""
    server.space("!chat")
    chat = server.chat()
    first = await start().live()
    await first.stop()
    await server.say(chat, "said after the first start")

    second = await start().live()
    await server.until(lambda: chat.said(), "an answer")
    await second.stop()

    assert chat.said() == ["said after the first start"]


async def test_a_bot_that_cannot_reach_the_server_waits_for_it(server, start):
    """Visible waiting at each step of start-up; nothing is skipped."""
    server.space("!chat")
    server.chat()
    for step in ("POST /login", "GET /sync", "GET /joined_rooms"):
        server.fail(step, times=2 if step != "GET /joined_rooms" else 0)

    run = await start().live()
    await run.stop()

    assert [line["what"] for line in run.logged("waiting")] == ["homeserver"] * 2 + ["snapshot"] * 2
    assert len(run.logged("matrix_reconcile_complete")) == 1


async def test_a_failing_joined_rooms_makes_the_run_degraded_and_stops_nothing(server, start):
    """Nothing is concluded about rooms that are missing."""
    server.space("!chat")
    server.chat()
    first = await start().live()
    await first.stop()
    server.absent.add("!chat")
    server.fail("GET /joined_rooms")

    second = await start().live()
    await second.stop()

    (report,) = second.logged("matrix_reconcile_complete")
    assert report["degraded"] is True
    assert report["reasons"] == {"fetch_failed": 1}
    store = second.store()
    assert store.room("!chat").status == "active"
    store.close()


def _position(run) -> str | None:
    store = run.store()
    try:
        return store.position
    finally:
        store.close()


async def test_keys_that_wait_are_taken_before_the_homeserver_forgets_them(server, start, monkeypatch):
    """It forgets them when it is asked for what has changed since the snapshot."""
    server.to_device.append({"type": "m.room_key_request", "sender": CAROL, "content": {"action": "odd"}})
    taken: list[int] = []
    handle = LiveClient._handle_to_device

    async def note(client, response):
        if response.to_device_events:
            taken.append(len(response.to_device_events))
        await handle(client, response)

    monkeypatch.setattr(LiveClient, "_handle_to_device", note)

    first = await start().live()
    await first.stop()
    at_the_first_start = list(taken)
    second = await start().live()
    await second.stop()

    assert at_the_first_start == [1]
    assert taken == [1, 1]


async def test_a_room_stays_encrypted_where_the_picture_leaves_that_out(server, client, tmp_path):
    """Else an answer would go out in plain text."""
    store = SQLiteStore(tmp_path / "bot.db")
    store.write_rooms([replace(CHAT_ROW, encrypted=True), replace(CHAT_ROW, room_id="!quiet", encrypted=True)])
    server.chat()
    server.chat("!quiet", chat_id="C2")
    server.absent.add("!quiet")

    await client.sync(timeout=0, sync_filter=SNAPSHOT_FILTER, full_state=True)
    await reconcile_matrix_state(client, store, ChatManager(client, store))

    assert {room_id: room.encrypted for room_id, room in client.rooms.items()} == {"!chat": True, "!quiet": True}
    store.close()
