"""People in encrypted rooms: devices that their identity signs, keys that come late, rooms that are switched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from greenroom import checks, must, never
from greenroom.bot_ready import first_sync
from greenroom.errors import CannotTell, Misuse
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.waiting import NotYet

GOOD_BOT = [sys.executable, str(Path(__file__).parents[1] / "gallery" / "encrypted" / "good_encrypted.py")]


@pytest.fixture
async def echo_of(bot, faults):
    """Start the gallery's encrypted bot for an owner."""

    async def start(owner):
        return await bot(GOOD_BOT, env={"BOT_OWNER": owner.user_id}, through=faults, ready=first_sync(faults))

    return start


async def test_every_device_of_a_person_is_signed(person):
    """Clients of other people see both devices as signed by their owner, with the keys that each device has."""
    alice, carol = await person("alice", encrypted=True), await person("carol")
    second = await person.second_device(alice)

    devices = await carol.devices(alice.user_id)

    own = {p.client.device_id: p.client.olm.account.identity_keys["ed25519"] for p in (alice, second)}
    assert {device.device_id: device.fingerprint for device in devices} == own
    assert [device.signed for device in devices] == [True, True]


async def test_a_bot_answers_every_device_of_everybody_in_an_encrypted_group(person, echo_of):
    """Alice's second device and Carol read the answer to Alice, each with keys of their own."""
    alice, carol = await person("alice", encrypted=True), await person("carol", encrypted=True)
    echo, second = await echo_of(alice), await person.second_device(alice)
    room = await must.group(alice, echo, carol, encrypted=True)

    answer = await must.answer(alice, echo, room, "!echo hello", "hello")

    assert answer.encrypted
    for other in (second, carol):
        seen = await must.see(other, checks.message("hello", sender=echo.user_id, room=room))
        assert seen.encrypted


async def test_a_room_is_switched_to_encryption(person, echo_of):
    """Right after the switch the person encrypts, and each event says whether its room was encrypted when it came."""
    alice = await person("alice", encrypted=True)
    echo = await echo_of(alice)
    room = await must.chat(alice, echo)
    before = await must.answer(alice, echo, room, "!echo one", "one")

    await alice.encrypt(room)
    after = await must.answer(alice, echo, room, "!echo two", "two")

    assert [(a.encrypted, a.event.in_encrypted_room) for a in (before, after)] == [(False, False), (True, True)]
    assert [raw["content"]["body"] for raw in await alice.messages(room)] == ["!echo one", "one"]


async def test_an_event_whose_key_comes_late_is_decrypted_in_its_place(person):
    """Until its key comes, the event is unreadable. Then it is a message with the same id, in the same place."""
    alice, carol = await person("alice", encrypted=True), await person("carol", encrypted=True)
    room = await alice.create_direct(carol.user_id, encrypted=True)
    await must.see(carol, checks.invited(by=alice.user_id, room=room))
    await carol.join(room)
    await must.see(alice, checks.joined(carol.user_id, room))
    client = alice.client
    await client.keys_claim(client.get_missing_sessions(room))
    ((_, key),) = client.olm.share_group_session_parallel(room, [carol.user_id], ignore_unverified_devices=True)
    client.olm.outbound_group_sessions[room].shared = True

    sent = await alice.send_text(room, "late")
    early = await carol.until(lambda seen: next((e for e in seen.events(room) if e.event_id == sent), NotYet("")))
    later = await alice.react(room, sent, "👍")
    await must.see(carol, checks.reaction(sent, "👍"))
    async with MatrixApi(alice.server.url) as api:
        await api.call("PUT", path("sendToDevice", "m.room.encrypted", "1"), token=client.access_token, json=key)
    late = await must.see(carol, checks.message("late", room=room))

    assert (early.type, early.encrypted, early.in_encrypted_room) == ("m.room.encrypted", False, True)
    assert (late.event_id, late.encrypted, late.in_encrypted_room) == (sent, True, True)
    assert [event.event_id for event in carol.seen.events(room)][-2:] == [sent, later]


async def test_a_person_without_keys_is_told_before_an_encrypted_chat_is_made(person, echo_of):
    """Otherwise the question would go out in plain text."""
    alice, carol = await person("alice"), await person("carol", encrypted=True)
    echo = await echo_of(alice)

    with pytest.raises(Misuse, match="has no keys for an encrypted room"):
        await must.chat(alice, echo, encrypted=True)
    with pytest.raises(Misuse, match="has no keys for an encrypted room"):
        await must.group(carol, echo, alice, encrypted=True)

    assert await alice.joined_rooms() == await carol.joined_rooms() == set()


async def test_what_a_person_cannot_read_proves_no_absence(person, echo_of, faults):
    """The bot answers, and a person without keys cannot read it: that is no proof that there was no answer."""
    alice = await person("alice")
    echo = await echo_of(alice)
    room = await alice.create_direct(echo.user_id, encrypted=True)
    await must.join(alice, echo, room)

    with pytest.raises(CannotTell, match="it sent an encrypted message without the key for it"):
        await never.answer(alice, echo, room, "!echo x", sentinel=never.synced(alice, echo, room, faults))
