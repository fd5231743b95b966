"""Encrypted rooms: answered before and after a restart, and a lost key store is told honestly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from greenroom.checks import message
from greenroom.faults import Rule
from greenroom.people.matrix_api import MatrixApi, path
from tests.e2e.scene import ask, set_up

ENCRYPTED = {"MATRIX_ENCRYPT_ROOMS": "1"}


async def test_an_encrypted_direct_chat_and_encrypted_chats_work_across_a_restart(person, bot):
    """What is said while the bot is down is decrypted and answered too; nothing goes out in the clear."""
    alice, greenroom = await person("alice", encrypted=True), await bot(env=ENCRYPTED)
    scene = await set_up(alice, greenroom, encrypted=True)

    assert (await ask(alice, greenroom, scene.chat, "secret one")).encrypted
    await greenroom.stop()
    sent = await alice.send_text(scene.chat, "secret two")
    await greenroom.start_again()
    answer = await alice.until(message("secret two", sender=greenroom.user_id, after=sent), watch=[greenroom])
    listed = await ask(alice, greenroom, scene.direct, "!chats")

    assert answer.encrypted
    assert listed.encrypted
    assert "C1" in listed.body
    assert await alice.messages(scene.chat) == []  # no m.room.message in the clear


async def test_a_lost_key_store_means_a_new_device_and_an_honest_word(person, bot):
    """The old messages stay unreadable, the log and !status say so, new messages are answered again."""
    alice, greenroom = await person("alice", encrypted=True), await bot(env=ENCRYPTED)
    scene = await set_up(alice, greenroom)
    await ask(alice, greenroom, scene.chat, "before")
    (before,) = greenroom.events("logged_in")
    await greenroom.stop()

    shutil.rmtree(greenroom.env["MATRIX_STORE_PATH"])
    await greenroom.start_again()
    await alice.sync()  # as any client at work: it hears of the new device before it encrypts the next message
    answer = await ask(alice, greenroom, scene.chat, "after", says="after")
    status = await ask(alice, greenroom, scene.chat, "!status", says="This is C1")

    (lost,) = greenroom.events("encryption_keys_lost")
    assert lost["device_id"] != before["device_id"]
    assert answer.encrypted
    assert "encryption keys were lost" in status.body


async def test_keys_reach_their_owner_however_often_the_homeserver_refuses(person, bot, faults):
    """Member lists, key claims and key shares fail on the way; no answer goes out that its reader cannot decrypt."""
    alice, greenroom = await person("alice", encrypted=True), await bot(env=ENCRYPTED, through=faults)
    members, query, claim, share = "/joined_members", "/keys/query", "/keys/claim", "/sendToDevice/"
    html, drop = faults.html, faults.drop_response

    with each_once(html, members, query, claim, share), each_once(drop, claim):
        scene = await set_up(alice, greenroom, encrypted=True, timeout_s=60)
    for number, (one, other) in enumerate([(html, drop), (drop, html)] * 2):
        with each_once(one, members, query, share), each_once(other, share):
            await greenroom.restart()
            text = f"secret {number}"
            assert (await ask(alice, greenroom, scene.chat, text, says=text, timeout_s=60)).encrypted


async def test_a_strangers_broken_message_to_the_bots_device_stops_nothing(person, bot):
    """The device's key is public, so anybody may send this, without sharing a room."""
    alice, mallory, greenroom = await person("alice"), await person("mallory"), await bot()
    scene = await set_up(alice, greenroom)
    asked = {"device_keys": {greenroom.user_id: []}}
    async with MatrixApi(greenroom.env["MATRIX_HOMESERVER"]) as api:
        token = mallory.client.access_token
        found = await api.call("POST", path("keys", "query"), token=token, json=asked)
        ((device, keys),) = found["device_keys"][greenroom.user_id].items()
        broken = {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": "c" * 43,
            "ciphertext": {keys["keys"][f"curve25519:{device}"]: {"type": 0, "body": "x"}},
        }
        messages = {"messages": {greenroom.user_id: {device: broken}}}
        await api.call("PUT", path("sendToDevice", "m.room.encrypted", "one"), token=token, json=messages)

    assert (await ask(alice, greenroom, scene.chat, "still here?")).body == "still here?"
    (line,) = greenroom.events("to_device_unreadable")
    assert line["sender"] == mallory.user_id
    await greenroom.restart()
    assert (await ask(alice, greenroom, scene.chat, "and now?")).body == "and now?"


@contextmanager
def each_once(fault: Callable[..., Rule], *paths: str) -> Iterator[None]:
    """Let the next request to each of these paths fail, and see at the end that each was made.

    So few on purpose: all failures of one answer share one pause that doubles, and the sixth may take 16 s.
    """
    with ExitStack() as stack:
        rules = [stack.enter_context(fault(path=path, times=1)) for path in paths]
        yield
        assert [str(rule) for rule in rules if not rule.hits] == []
