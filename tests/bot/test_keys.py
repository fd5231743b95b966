"""The device's encryption keys: uploaded, replaced, and the same ones after a kill."""

from __future__ import annotations

import contextlib
import shutil

import nio
import pytest
from nio.crypto import OlmDevice, OutboundSession

from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.sync import LiveClient
from tests.bot.factory import CAROL, ME
from tests.bot.looping import running


async def again(server, tmp_path):
    """Return a client as the next start of the bot makes it, from what is saved."""
    client = LiveClient(server.url, ME, store_path=str(tmp_path))
    client.restore_login(ME, "DEVICE", "token")
    return client


def uploads(server):
    return [r.body for r in server.requests if r.path == "/keys/upload"]


async def test_a_first_start_that_ends_during_the_key_upload_offers_the_same_keys_again(server, client, tmp_path):
    """The homeserver has the keys, and refuses others under their ids for ever."""
    server.fail("POST /keys/upload", None, after=True)
    with contextlib.suppress(MatrixError):
        await client.upload_keys()

    second = await again(server, tmp_path)
    await second.upload_keys()
    await second.close()

    first_offer, second_offer = (body["one_time_keys"] for body in uploads(server))
    assert first_offer.items() <= second_offer.items()


async def test_a_repeated_upload_offers_no_more_keys(server, client):
    """A homeserver that is away for a day must not get thousands of keys."""
    server.fail("POST /keys/upload", 502, times=3)
    for _ in range(3):
        with contextlib.suppress(MatrixError):
            await client.upload_keys()

    await client.upload_keys()

    assert [len(body["one_time_keys"]) for body in uploads(server)] == [50] * 4


async def test_key_ids_that_are_taken_are_skipped(server, client, tmp_path, log_lines):
    """An older copy of the store was put back: the homeserver has other keys under the next ids."""
    other = LiveClient(server.url, CAROL, store_path=str(tmp_path))
    other.restore_login(CAROL, "DEVICE", "token")
    await other.upload_keys()
    await other.close()

    await client.upload_keys()

    assert [line["event"] for line in log_lines if line["event"] == "key_ids_taken"] == ["key_ids_taken"]
    refused, accepted = uploads(server)[1:]
    assert not refused["one_time_keys"].keys() & accepted["one_time_keys"].keys()


@pytest.mark.parametrize("told", [{"signed_curve25519": 0}, {}], ids=["none", "not listed"])
async def test_one_time_keys_that_ran_out_are_replaced(server, client, told):
    """Anybody with an account may claim fifty of them; then new people could not be read."""
    await client.upload_keys()
    server.chat()
    server.fail("GET /sync", 200, {"next_batch": "s1", "device_one_time_keys_count": told})

    await running(server, client, lambda: len(uploads(server)) > 1)

    assert [len(body["one_time_keys"]) for body in uploads(server)] == [50] * 2


@pytest.fixture
async def phone(server, tmp_path):
    """Carol's device."""
    (tmp_path / "phone").mkdir()
    opened = LiveClient(server.url, CAROL, store_path=str(tmp_path / "phone"))
    opened.restore_login(CAROL, "PHONE", "token")
    yield opened
    await opened.close()


def room_key(phone, olm_session, device, room):
    """Return the to-device event by which the phone shares the key of its next message in the room."""
    phone.olm.create_outbound_group_session(room)
    group = phone.olm.outbound_group_sessions[room]
    group.mark_as_shared()
    content = {"algorithm": "m.megolm.v1.aes-sha2", "room_id": room}
    content |= {"session_id": group.id, "session_key": group.session_key}
    content = phone.olm._olm_encrypt(olm_session, device, "m.room_key", content)
    return nio.ToDeviceEvent.parse_event({"type": "m.room.encrypted", "sender": CAROL, "content": content})


def message(phone, room):
    """Return the phone's next message in the room, as a sync brings it."""
    content = phone.olm.group_encrypt(room, {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "hi"}})
    source = {"type": "m.room.encrypted", "sender": CAROL, "event_id": "$1", "origin_server_ts": 1, "content": content}
    event = nio.Event.parse_encrypted_event(source)
    event.room_id = room
    return event


@pytest.mark.parametrize("acquainted", [False, True], ids=["first message of a device", "a later one"])
async def test_a_room_key_outlives_a_kill_at_any_moment(server, client, phone, tmp_path, monkeypatch, acquainted):
    """The homeserver sends the key again, but an Olm message can be decrypted once: all that follows is saved, or none.

    The files as they are before each statement are what a kill at that moment leaves behind.
    """
    await client.upload_keys()
    (upload,) = uploads(server)
    keys = client.olm.account.identity_keys
    one_time_key = next(iter(upload["one_time_keys"].values()))["key"]
    device = OlmDevice(ME, "DEVICE", keys)
    olm_session = OutboundSession(phone.olm.account, keys["curve25519"], one_time_key)
    if acquainted:
        client._handle_decrypt_to_device(room_key(phone, olm_session, device, "!before:test"))
    key = room_key(phone, olm_session, device, "!chat:test")
    said = message(phone, "!chat:test")
    execute_sql, moments = client.store.database.execute_sql, []

    def execute_after_a_copy(sql, *args, **kwargs):
        moments.append(tmp_path / f"before statement {len(moments)}")
        moments[-1].mkdir()
        for file in tmp_path.glob(f"{ME}_DEVICE*"):
            shutil.copy(file, moments[-1])
        return execute_sql(sql, *args, **kwargs)

    monkeypatch.setattr(client.store.database, "execute_sql", execute_after_a_copy)
    assert isinstance(client._handle_decrypt_to_device(key), nio.RoomKeyEvent)
    assert client.decrypt_event(said).body == "hi"

    lost = []
    for moment in moments:
        second = await again(server, moment)
        second._handle_decrypt_to_device(key)
        if not second.olm.inbound_group_store.get("!chat:test", said.sender_key, said.session_id):
            lost.append(moment.name)
        await second.close()
    assert moments
    assert lost == []
