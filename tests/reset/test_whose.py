"""Whose the local state is: one account's, and each file with the bot's or nio's mark in it. Anything else stays."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import vodozemac
from nio.crypto import OlmAccount, OlmDevice
from nio.store import DefaultStore

from greenroom_bot.matrix.cross_signing import USAGES, SigningKeys
from greenroom_bot.matrix.session import Session
from greenroom_reset import local
from greenroom_reset.local import Paths
from tests.reset.conftest import ALICE, BOT, LOCAL, refuses, tree

BY_HAND = "Nothing was changed. Move it away by hand and run this again, or correct MATRIX_STORE_PATH$"


def names(environ: dict[str, str]) -> set[str]:
    """Return the names of the files that a local reset would delete."""
    return {step.path.name for step in local.survey(Paths.from_environ(environ)) if step.state == "planned"}


def owned_by(bot_state: Path, user_id: str) -> None:
    """Write the account into the database, as the bot does."""
    with closing(sqlite3.connect(bot_state / "bot.db")) as db, db:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('user_id', ?)", [user_id])


def session(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({"user_id": BOT, "device_id": "D", "access_token": "saved", **changed}))


def nio_store(folder: Path, user_id: str = BOT, name: str = "") -> Path:
    """Make a key store as nio does, with an account and a list of devices in it. Returns the database."""
    store = DefaultStore(user_id, "NIO", str(folder), database_name=name)
    store.save_account(OlmAccount())
    store.blacklist_device(OlmDevice(ALICE, "PHONE", {"ed25519": "key+/1", "curve25519": "key2"}))
    store.database.close()
    return Path(store.database_path)


# One account


def test_the_database_of_another_account_is_refused(environ, bot_state):
    """If the database belongs to another account than MATRIX_USER_ID, the message names both and the file."""
    owned_by(bot_state, ALICE)
    (bot_state / "store" / "session.json").unlink()

    refuses(environ, f"more than one account: MATRIX_USER_ID names {BOT}, the database .+/bot.db names {ALICE}")


def test_the_session_of_another_account_is_refused(environ, bot_state):
    """If the session belongs to another account than MATRIX_USER_ID, the message names both and the file."""
    refuses(
        environ,
        f"MATRIX_USER_ID names {ALICE}, /.+/session.json names {BOT}. Nothing was changed",
        MATRIX_USER_ID=ALICE,
    )


@pytest.mark.parametrize("name", ["session.json", "session.json.4711"])
def test_session_and_database_of_two_accounts_are_refused(environ, bot_state, name):
    """Without MATRIX_USER_ID session and database still have to agree; a draft of a session counts too."""
    (bot_state / "store" / "session.json").rename(bot_state / "store" / name)
    owned_by(bot_state, ALICE)

    refuses(environ, f"the database .+/bot.db names {ALICE}, /.+/{name} names {BOT}", MATRIX_USER_ID="")


def test_an_account_that_is_only_in_the_databases_log_counts(environ, bot_state, tmp_path):
    """A killed bot may have written its account into the log only."""
    original, db = tmp_path / "original.db", bot_state / "bot.db"
    original.write_bytes(db.read_bytes())
    with closing(sqlite3.connect(original, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO meta VALUES ('user_id', ?)", [ALICE])
        for suffix in ("", "-wal"):  # copied while open: closing would write the log into the file
            Path(f"{db}{suffix}").write_bytes(Path(f"{original}{suffix}").read_bytes())
    before = tree(bot_state)

    refuses(environ, f"the database .+ names {ALICE}")
    assert tree(bot_state) == before


def test_one_account_everywhere_is_fine(environ, bot_state):
    """Settings, database and session of one account are one bot's state, whichever of them name it."""
    owned_by(bot_state, BOT)
    assert len(names(environ)) == 1 + 5 + 1
    assert len(names({**environ, "MATRIX_USER_ID": ""})) == 1 + 5 + 1


# Sessions


def test_the_keys_of_what_the_bot_saves_are_known(environ, bot_state):
    """The reset tool cannot import the bot's session without nio, so it has a copy of the names."""
    store = bot_state / "store"
    Session(BOT, "D", "t").save(store)
    SigningKeys({usage: vodozemac.Account() for usage in USAGES}).save(store, BOT)

    assert {"session.json", "cross_signing.json"} < names(environ)
    for name, keys in local.SAVED_KEYS.items():
        assert json.loads((store / name).read_text()).keys() == keys


def test_signing_keys_of_another_account_are_refused(environ, bot_state):
    """They are the identity of that account; nobody could make them again."""
    SigningKeys({usage: vodozemac.Account() for usage in USAGES}).save(bot_state / "store", ALICE)

    refuses(environ, f"/.+/cross_signing.json names {ALICE}")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "null",
        '{"user_id": "@bot:hs1", "dev',
        json.dumps({"user_id": BOT, "device_id": "D", "access_token": 7}),
        json.dumps({"user_id": BOT, "device_id": "D", "access_token": "t", "homeserver": "https://hs1"}),
        "[" * 100_000,
        "\0" * 80,
        "x" * 200_000,
    ],
    ids=["empty object", "list", "null", "torn", "number", "other program", "deep", "zeros", "long"],
)
def test_a_session_that_is_not_the_bots_is_refused(environ, bot_state, content):
    """A session has exactly the keys that the bot writes. Anything else is for a person to judge."""
    (bot_state / "store" / "session.json").write_text(content)

    refuses(environ, f"session.json is damaged, or some other program's. {BY_HAND}")


def test_an_empty_session_and_a_draft_go(environ, bot_state):
    """A full disk leaves an empty file, and a killed bot the draft of a session. Both are the bot's."""
    (bot_state / "store" / "session.json").write_text("")
    (bot_state / "store" / "session.json.12").write_text("")
    session(bot_state / "store" / "session.json.13", access_token="")

    assert {"session.json", "session.json.12", "session.json.13"} < names(environ)


async def test_intact_keys_without_their_session_go_when_a_setting_names_the_account(environ, bot_state, shown):
    """A lost session is no obstacle: MATRIX_USER_ID or the database says whose keys they are, else the message asks."""
    (bot_state / "store" / "session.json").unlink()
    nio_store(bot_state / "store")
    anonymous = {**environ, "MATRIX_USER_ID": ""}
    refuses(anonymous, "holds key files, and no session or database says whose.+Set MATRIX_USER_ID and run this again$")

    owned_by(bot_state, BOT)
    assert names(anonymous) == names(environ)
    summary = await shown.reset(environ, LOCAL, yes=True)

    assert (summary.exit_code, tree(bot_state)) == (0, {})


# Key files


def test_what_nio_writes_is_recognised(environ, bot_state):
    """nio's database, its journal and its lists of devices are the bot's, as nio itself writes them."""
    db = nio_store(bot_state / "store")
    journal = db.with_name(f"{db.name}-journal")
    journal.write_bytes(b"")

    assert {db.name, journal.name, f"{BOT}_NIO.blacklisted_devices"} < names(environ)


def test_a_key_store_whose_creation_was_killed_is_recognised(environ, bot_state):
    """nio makes one table after the other, `storeversion` first; a killed first start leaves some of them, or none."""
    tables = {"A": "CREATE TABLE storeversion (version)", "B": "PRAGMA user_version = 0", "C": "VACUUM"}
    for device, statement in tables.items():
        with closing(sqlite3.connect(bot_state / "store" / f"{BOT}_{device}.db")) as db, db:
            db.execute(statement)

    assert {f"{BOT}_{device}.db" for device in tables} < names(environ)


@pytest.mark.parametrize("suffix", ["db", "trusted_devices", "blacklisted_devices", "ignored_devices"])
@pytest.mark.parametrize("content", ["Dear diary", "@alice:hs1 PHONE\nmatrix-ed25519 k\n", "@a:b C matrix-ed25519 k"])
def test_a_strange_file_named_like_a_key_file_is_refused(environ, bot_state, suffix, content):
    """A file that only has the name of a key file is not nio's, however good the session beside it is."""
    (bot_state / "store" / f"{BOT}_D.{suffix}").write_text(content)

    refuses(environ, f"{BOT}_D.{suffix} is not .+{BY_HAND}")


def test_another_programs_database_named_like_a_key_file_is_refused(environ, bot_state):
    """An SQLite database without nio's first table is some other program's; an unreadable one is for a person."""
    path = bot_state / "store" / f"{BOT}_D.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE accounts (user_id)")
    refuses(environ, f"is some other program's SQLite database .it holds accounts.. {BY_HAND}")

    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    refuses(environ, f"cannot be recognised as .+{BY_HAND}")


def test_keys_of_another_account_are_refused(environ, bot_state):
    """The keys of another account are not the bot's, neither by the name of their file nor by what it holds."""
    nio_store(bot_state / "store", name=f"{BOT}_NIO.db", user_id=ALICE)
    for devices in (bot_state / "store").glob(f"{ALICE}_NIO.*"):
        devices.unlink()
    refuses(environ, f"{BOT}_NIO.db holds keys of {ALICE}, not of {BOT}. {BY_HAND}")

    (bot_state / "store" / f"{BOT}_NIO.db").rename(bot_state / "store" / f"{ALICE}_NIO.db")
    refuses(environ, f"more than a bot's store: {ALICE}_NIO.db. {BY_HAND}")


def test_a_side_file_without_its_key_store_has_to_begin_like_one(environ, bot_state):
    """A strange file that is named like the journal of a key store stays, and so do all others."""
    (bot_state / "store" / f"{BOT}_D.db-journal").write_text("Dear diary")
    assert f"{BOT}_D.db-journal" in names(environ)

    (bot_state / "store" / f"{BOT}_D.db").unlink()
    refuses(environ, f"{BOT}_D.db-journal is not a side file.+{BY_HAND}")


# Directories


async def test_an_empty_directory_stays(environ, shown):
    """An empty directory has no mark of the bot, so it stays, and the summary says so; no question is asked."""
    Path(environ["MATRIX_STORE_PATH"]).mkdir()
    shown.answer = "n"

    summary = await shown.reset(environ, LOCAL)

    assert summary.exit_code == 0
    assert os.listdir(environ["MATRIX_STORE_PATH"]) == []
    assert [step.outcome() for step in summary.files][-1].startswith("already empty: store directory ")


async def test_a_directory_that_was_not_empty_goes_with_its_files(environ, bot_state, shown):
    """The directory goes with the bot's files, also where these are all empty."""
    for path in (bot_state / "store").iterdir():
        path.write_bytes(b"")

    await shown.reset(environ, LOCAL, yes=True)

    assert tree(bot_state) == {}
