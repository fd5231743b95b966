"""`python -m greenroom_bot check`: how far records and homeserver are apart, without touching either."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from greenroom_bot.check import check
from greenroom_bot.config import Config
from greenroom_bot.matrix.errors import CannotTell, CredentialsError
from tests.bot.factory import ME
from tests.fake_homeserver import PASSWORD


@pytest.fixture
def config(server, tmp_path):
    """The settings that the fixture `start` uses too."""
    return Config(
        homeserver=server.url, user_id=ME, password=PASSWORD, db_path=tmp_path / "bot.db", store_path=tmp_path / "keys"
    )


@pytest.fixture
def chat(server):
    server.space("!chat")
    return server.chat()


async def test_a_bot_that_has_just_run_is_in_step(start, chat, config, capsys):
    """0, and one line of text."""
    await (await start().live()).stop()

    assert await check(config) == 0
    assert capsys.readouterr().out == f"@bot:hs1 on {config.homeserver}: in step; 2 rooms: unchanged 2\n"


async def test_drift_is_named_room_by_room(start, chat, config, capsys):
    """1, as text and as one JSON object; asking twice gives the same answer, for nothing was written."""
    await (await start().live()).stop()
    chat.named("Groceries")

    for _ in range(2):
        assert await check(config) == 1
        assert "!chat  renamed; title" in capsys.readouterr().out
    assert await check(config, as_json=True) == 1
    report = json.loads(capsys.readouterr().out)

    assert (report["in_step"], report["outcomes"]["renamed"], report["rooms_seen"]) == (False, 1, 2)


async def test_without_a_database_everything_is_drift_and_no_database_is_made(chat, config, capsys):
    """The bot has not run here."""
    assert await check(config, as_json=True) == 1

    assert json.loads(capsys.readouterr().out)["outcomes"]["recovered"] == 2
    assert not config.db_path.exists()
    assert not config.store_path.exists()


async def test_a_look_leaves_no_device_behind_and_writes_nothing(server, start, chat, config):
    """With a saved session that one is used; without one a device is made and logged out again."""
    await check(config)
    assert server.devices == {}

    await (await start().live()).stop()
    devices = dict(server.devices)
    await check(config)

    assert server.devices == devices
    assert server.paths(writes_only=True) == []


async def test_a_look_is_possible_beside_a_running_bot(start, chat, config):
    """It takes nothing away from it."""
    run = await start().live()

    assert await check(config) == 0
    assert not run.task.done()


async def test_a_server_without_a_usable_answer_means_cannot_tell(server, start, chat, config):
    """Exit 3; likewise when joined_rooms fails, nothing is said about missing rooms."""
    await (await start().live()).stop()
    server.fail("GET /sync", times=99)  # the stopped bot's last sync may still be on its way

    with pytest.raises(CannotTell, match="gave no usable answer") as failed:
        await check(config)

    assert failed.value.exit_code == 3


async def test_a_degraded_look_is_not_in_step(server, start, chat, config, capsys):
    """And says what it could not see."""
    await (await start().live()).stop()
    server.fail("GET /joined_rooms")

    assert await check(config) == 1
    assert "joined_rooms could not be fetched" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"garbage " * 1000, b"SQLite format 3\0" + b"x" * 5000])
async def test_a_database_that_cannot_be_read_means_cannot_tell(config, content):
    """Exit 3, nothing is asked of the server."""
    config.db_path.write_bytes(content)

    with pytest.raises(CannotTell, match="cannot be read"):
        await check(config)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("PRAGMA user_version = 7", "has schema version 7"),
        ("PRAGMA application_id = 5", "some other program's database"),
        ("DROP TABLE handled", "missing or changed: handled"),
        ("UPDATE meta SET value = '@carol:hs1' WHERE key = 'user_id'", "belongs to @carol:hs1"),
    ],
)
async def test_a_database_that_the_bot_refuses_is_not_in_step(start, chat, config, change, why):
    """Exit 3: "in step" would be said of records that no bot reads."""
    await (await start().live()).stop()
    with closing(sqlite3.connect(config.db_path, isolation_level=None)) as db:
        db.execute(change)

    with pytest.raises(CannotTell, match=why):
        await check(config)


async def test_an_empty_database_counts_as_none(chat, config):
    """A first start was ended before it had written anything; the next one makes the tables."""
    config.db_path.touch()

    assert await check(config) == 1


async def test_a_wrong_password_or_a_dead_session_is_a_matter_of_credentials(server, start, chat, config):
    """Exit 4, as for the bot itself."""
    with pytest.raises(CredentialsError):
        await check(Config(**{**vars(config), "password": "wrong"}))
    await (await start().live()).stop()
    server.devices.clear()

    with pytest.raises(CredentialsError) as failed:
        await check(config)

    assert failed.value.exit_code == 4


# -- a homeserver that answers a device's second sync without a token as its first one


@pytest.fixture
def old(server):
    """The homeserver's pictures come from a cache, from the bot's first one on."""
    server.pictures_from_a_cache = True
    return server


def by_token(config, server):
    """The settings of a bot that has a token and no password."""
    return Config(**{**vars(config), "password": None, "access_token": next(iter(server.devices))})


async def test_every_look_asks_with_a_filter_of_its_own(server, chat, config):
    """Synapse answers the same sync from a cache for up to two minutes."""
    await check(config)
    await check(config)

    filters = [request.query["filter"] for request in server.requests if request.path == "/sync"]
    assert len(filters) == len(set(filters)) == 4


async def test_drift_since_an_old_picture_is_seen_by_a_new_device(start, chat, config, old, capsys):
    """A new name and a new invite are drift. No device is left, and no message of the bot's is acknowledged."""
    await (await start().live()).stop()
    devices, asked = dict(old.devices), len(old.requests)
    assert await check(config) == 0
    chat.named("Groceries")
    await old.invite("!new:hs1")

    assert await check(config) == 1

    said = capsys.readouterr().out
    assert "!chat  renamed; title" in said
    assert "!new:hs1  invite_pending" in said
    assert old.devices == devices
    assert not [request for request in old.requests[asked:] if "since" in request.query]
    assert old.paths(writes_only=True) == []


async def test_without_a_password_each_room_is_read(start, chat, config, old, capsys):
    """The rooms of `joined_rooms` are as they are now, and what is not known is said."""
    await (await start().live()).stop()
    chat.named("Groceries")

    assert await check(by_token(config, old)) == 1

    said = capsys.readouterr().out
    assert "!chat  renamed; title" in said
    assert "does not show that its sync is current" in said
    assert "With MATRIX_PASSWORD a new device could ask" in said


async def test_a_room_that_was_left_since_an_old_picture_is_drift(start, chat, config, old, capsys):
    """Also without a password: `joined_rooms` lacks it, and its state tells who did it."""
    await (await start().live()).stop()
    chat.member(ME, "leave", by="@alice:hs1", reason="enough")

    assert await check(by_token(config, old)) == 1

    assert "!chat  left_offline; kicked by @alice:hs1: enough" in capsys.readouterr().out


async def test_in_step_is_not_said_of_an_old_picture(start, chat, config, old, capsys):
    """Exit 3: an invite would be drift, and only a sync tells of invites."""
    await (await start().live()).stop()
    await old.invite("!new:hs1")

    with pytest.raises(CannotTell, match="records and joined rooms agree, but the homeserver does not show"):
        await check(by_token(config, old))

    assert capsys.readouterr().out == ""


async def test_a_left_room_without_state_is_read(start, chat, config, server, capsys):
    """The reason is in the room's state where the sync leaves it out."""
    await (await start().live()).stop()
    server.left_without_state = True
    chat.member(ME, "leave", by="@alice:hs1", reason="enough")

    assert await check(config) == 1

    assert "!chat  left_offline; kicked by @alice:hs1: enough" in capsys.readouterr().out


async def test_a_joined_room_that_the_sync_lacks_is_read(start, chat, config, server):
    """Servers leave quiet rooms out."""
    await (await start().live()).stop()
    server.absent.add("!chat")

    assert await check(config) == 0
