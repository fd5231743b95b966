"""Encrypted rooms: answered before and after a restart, and a bot whose key store is lost says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import vodozemac
from nio import Api

from greenroom import must
from greenroom.faults import Rule
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.waiting import until
from tests.e2e.scene import set_up

ENCRYPTED = {"MATRIX_ENCRYPT_ROOMS": "1"}


async def test_an_encrypted_direct_chat_and_encrypted_chats_work_across_a_restart(person, bot):
    """In encrypted rooms the bot also answers what was sent while it was down, and sends nothing in the clear."""
    alice, greenroom = await person("alice", encrypted=True), await bot(env=ENCRYPTED)
    scene = await set_up(alice, greenroom, encrypted=True)

    first = await must.answer(alice, greenroom, scene.chat, "secret one")
    await greenroom.stop()
    sent = await alice.send_text(scene.chat, "secret two")
    await greenroom.start_again()
    second = await must.say(alice, greenroom, scene.chat, "secret two", after=sent)
    listed = await must.answer(alice, greenroom, scene.direct, "!chats")

    assert first.body == "secret one"
    assert [answer.encrypted for answer in (first, second, listed)] == [True, True, True]
    assert "C1" in listed.body
    assert await alice.messages(scene.chat) == []  # no m.room.message in the clear


async def test_a_lost_key_store_means_a_new_device_and_an_honest_word(person, bot):
    """A bot that has lost its key store takes a new device, says so in its log and in `!status`, and answers again."""
    alice, greenroom = await person("alice", encrypted=True), await bot(env=ENCRYPTED)
    scene = await set_up(alice, greenroom)
    await must.answer(alice, greenroom, scene.chat, "before")
    (before,) = greenroom.events("logged_in")
    await greenroom.stop()

    shutil.rmtree(greenroom.env["MATRIX_STORE_PATH"])
    await greenroom.start_again()
    await alice.sync()  # as any client at work: it hears of the new device before it encrypts the next message
    answer = await must.answer(alice, greenroom, scene.chat, "after", containing="after")
    status = await must.answer(alice, greenroom, scene.chat, "!status", containing="This is C1")

    (lost,) = greenroom.events("encryption_keys_lost")
    (signed,) = greenroom.events("device_signed")
    assert lost["device_id"] == signed["device_id"] != before["device_id"]
    assert answer.encrypted
    assert "encryption keys were lost" in status.body


async def test_keys_reach_their_owner_however_often_the_homeserver_refuses(person, bot, faults):
    """When requests for members and keys fail on the way, every answer can still be decrypted by its reader."""
    alice, greenroom = await person("alice", encrypted=True), await bot(env=ENCRYPTED, through=faults)
    members, query, claim, share = "/joined_members", "/keys/query", "/keys/claim", "/sendToDevice/"
    html, drop = faults.html, faults.drop_response

    with each_once(html, members, query, claim, share), each_once(drop, claim):
        scene = await set_up(alice, greenroom, encrypted=True, timeout_s=60)
    for number, (one, other) in enumerate([(html, drop), (drop, html)] * 2):
        with each_once(one, members, query, share), each_once(other, share):
            await greenroom.restart()
            text = f"secret {number}"
            answer = await must.answer(alice, greenroom, scene.chat, text, containing=text, timeout_s=60)
            assert answer.encrypted


async def test_a_strangers_broken_message_to_the_bots_device_stops_nothing(person, bot):
    """A broken to-device message, which anybody can send without sharing a room, is logged and stops nothing."""
    alice, mallory, greenroom = await person("alice"), await person("mallory"), await bot()
    scene = await set_up(alice, greenroom)

    await send_broken_message(mallory, greenroom)
    first = await must.answer(alice, greenroom, scene.chat, "still here?")
    line, *_ = greenroom.events("to_device_unreadable")  # it may be told again
    await greenroom.restart()
    second = await must.answer(alice, greenroom, scene.chat, "and now?")

    assert (first.body, second.body) == ("still here?", "and now?")
    assert line["sender"] == mallory.user_id


async def test_one_time_keys_that_a_stranger_has_used_up_are_replaced(person, bot):
    """Any local account may claim all keys of the bot's device; the bot uploads more, and new people can be read."""
    mallory, greenroom = await person("mallory"), await bot(env=ENCRYPTED)
    device = {greenroom.user_id: {(await greenroom.until_logged("logged_in"))["device_id"]: "signed_curve25519"}}
    async with MatrixApi(greenroom.env["MATRIX_HOMESERVER"]) as api:

        async def claim() -> bool:
            token, asked = mallory.client.access_token, {"one_time_keys": device}
            return bool((await api.call("POST", path("keys", "claim"), token=token, json=asked))["one_time_keys"])

        claimed = 0
        while await claim():
            claimed += 1
        # The homeserver tells the count with the answer to the long poll, which a claim does not end: 30 s at most.
        await until(claim, "the bot to upload new one-time keys", timeout_s=60, every_s=0.5, watch=[greenroom])
    alice = await person("alice", encrypted=True)
    scene = await set_up(alice, greenroom, encrypted=True)
    answer = await must.answer(alice, greenroom, scene.chat, "can you read me?")

    assert claimed >= 50
    assert (answer.body, answer.encrypted) == ("can you read me?", True)


async def test_the_bots_device_is_signed_by_its_account(person, bot):
    """Other people's clients find a cross-signing key of the account that has signed the bot's device."""
    alice, greenroom = await person("alice"), await bot()
    signed = await greenroom.until_logged("device_signed")

    async with MatrixApi(greenroom.env["MATRIX_HOMESERVER"]) as api:
        asked, me = {"device_keys": {greenroom.user_id: []}}, greenroom.user_id
        found = await api.call("POST", path("keys", "query"), token=alice.client.access_token, json=asked)
    ((signer, public),) = found["self_signing_keys"][me]["keys"].items()
    device = found["device_keys"][me][signed["device_id"]]
    bare = {key: value for key, value in device.items() if key not in ("signatures", "unsigned")}
    signature = vodozemac.Ed25519Signature.from_base64(device["signatures"][me][signer])

    assert found["master_keys"][me]["usage"] == ["master"]
    vodozemac.Ed25519PublicKey.from_base64(public).verify_signature(Api.to_canonical_json(bare).encode(), signature)


async def send_broken_message(sender, greenroom) -> None:
    """Send the bot's device an Olm message that its own public key addresses and that nobody can decrypt."""
    token = sender.client.access_token
    async with MatrixApi(greenroom.env["MATRIX_HOMESERVER"]) as api:
        asked = {"device_keys": {greenroom.user_id: []}}
        found = await api.call("POST", path("keys", "query"), token=token, json=asked)
        ((device, keys),) = found["device_keys"][greenroom.user_id].items()
        broken = {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": "c" * 43,
            "ciphertext": {keys["keys"][f"curve25519:{device}"]: {"type": 0, "body": "x"}},
        }
        messages = {"messages": {greenroom.user_id: {device: broken}}}
        await api.call("PUT", path("sendToDevice", "m.room.encrypted", "one"), token=token, json=messages)


@contextmanager
def each_once(fault: Callable[..., Rule], *paths: str) -> Iterator[None]:
    """Let the next request to each of these paths fail, and check at the end that each was made.

    The number is small on purpose: all failures of one answer share a pause that doubles, and the sixth may take 16 s.
    """
    with ExitStack() as stack:
        rules = [stack.enter_context(fault(path=path, times=1)) for path in paths]
        yield
        assert [str(rule) for rule in rules if not rule.hits] == []
