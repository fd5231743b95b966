"""The device's encryption keys: uploaded, replaced, and the same ones after a kill."""

from __future__ import annotations

import contextlib

import pytest

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
