"""Local reset: exactly the bot's files, nothing that is not the bot's, nothing while a bot uses them."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from greenroom_reset import local
from greenroom_reset.database import APPLICATION_ID
from greenroom_reset.errors import Refused
from greenroom_reset.local import Paths
from tests.reset.conftest import Shown, make_database, tree

LOCAL = "local-only"


async def test_it_deletes_database_side_files_and_store(environ, bot_state, shown):
    """Everything that the two settings name goes, and the summary says so for each file."""
    for suffix in ("-wal", "-shm", "-journal"):
        (bot_state / f"bot.db{suffix}").write_bytes(b"x")

    summary = await shown.reset(environ, LOCAL, yes=True)

    assert summary.exit_code == 0
    assert tree(bot_state) == {}
    assert {result.state for result in summary.files} == {"deleted"}
    assert len(summary.files) == 1 + 3 + 5 + 1


async def test_a_dry_run_prints_the_plan_of_the_real_run_and_changes_nothing(environ, bot_state):
    """Both runs print the same plan; after the dry run every byte is where it was."""
    before, dry, real = tree(bot_state), Shown(), Shown()

    summary = await dry.reset(environ, LOCAL, dry_run=True)
    after = tree(bot_state)
    await real.reset(environ, LOCAL, yes=True)

    assert after == before
    assert summary.exit_code == 0
    assert {result.state for result in summary.files} == {"would be deleted"}
    assert dry.text.getvalue() == real.text.getvalue() != ""


async def test_what_is_not_there_is_already_absent(environ, shown):
    """A second reset has nothing to do, says so, and asks nothing."""
    shown.answer = "n"

    summary = await shown.reset(environ, LOCAL)

    assert summary.exit_code == 0
    assert {result.state for result in summary.files} == {"already absent"}


async def test_it_needs_no_server_settings_and_says_that_rooms_stay(environ, bot_state, shown):
    """Local means local: without homeserver and password it works, and it tells what the next start will do."""
    paths_only = {key: value for key, value in environ.items() if key.endswith("_PATH")}

    summary = await shown.reset(paths_only, LOCAL, yes=True)

    assert summary.exit_code == 0
    text = "\n".join(summary.lines())
    assert "every room stays as it is, and the bot's next start rebuilds from them" in text
    assert "--mode server-leave-forget" in text


def test_a_bot_in_the_default_places_is_found(tmp_path, monkeypatch):
    """Absent settings mean the bot's own defaults, relative to where it is started."""
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "lambda_matrix.db")

    steps = local.survey(Paths.from_environ({"MATRIX_DB_PATH": ""}))

    assert [(s.path, s.present) for s in steps] == [
        (tmp_path / "lambda_matrix.db", True),
        (tmp_path / "matrix_store", False),
    ]


async def test_the_answer_no_changes_nothing(environ, bot_state, shown):
    """Anything but a clear yes is a no."""
    before = tree(bot_state)
    shown.answer = "yeah, maybe"

    with pytest.raises(Refused, match="not confirmed"):
        await shown.reset(environ, LOCAL)

    assert tree(bot_state) == before


async def test_the_answer_yes_goes_ahead(environ, bot_state, shown):
    """The question comes after the plan."""
    shown.answer = "y"

    summary = await shown.reset(environ, LOCAL)

    assert summary.exit_code == 0
    assert tree(bot_state) == {}


async def test_nobody_to_ask_is_a_refusal(environ, bot_state, shown):
    """Without a terminal and without --yes nothing happens."""
    before = tree(bot_state)

    with pytest.raises(Refused, match="--yes"):
        await shown.reset(environ, LOCAL)

    assert tree(bot_state) == before


def _refuses(environ: dict[str, str], match: str, **changed: object) -> None:
    settings = {**environ, **{key: str(value) for key, value in changed.items()}}
    with pytest.raises(Refused, match=match) as refused:
        local.survey(Paths.from_environ(settings))
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


SETTINGS = pytest.mark.parametrize("setting", ["MATRIX_DB_PATH", "MATRIX_STORE_PATH"])


@SETTINGS
@pytest.mark.parametrize("path", ["/", "/.", "//", "/usr/.."])
def test_the_root_is_refused_however_it_is_written(environ, setting, path):
    """`/` holds everything."""
    _refuses(environ, "or holds it", **{setting: path})


@SETTINGS
def test_home_and_what_holds_it_are_refused(environ, setting, tmp_path, monkeypatch):
    """Neither the home directory nor one above it."""
    home = tmp_path / "homes" / "me"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))

    _refuses(environ, "the home directory", **{setting: home})
    _refuses(environ, "the home directory", **{setting: home.parent})
    _refuses(environ, "the home directory", **{setting: f"{tmp_path}/bot/../homes/me"})


@SETTINGS
def test_the_checkout_and_the_working_directory_are_refused(environ, setting, tmp_path, monkeypatch):
    """This source tree, any other, and where one stands."""
    here, other = tmp_path / "here" / "below", tmp_path / "other"
    (other / ".git").mkdir(parents=True)
    here.mkdir(parents=True)
    monkeypatch.chdir(here)

    _refuses(environ, "the working directory", **{setting: "."})
    _refuses(environ, "the working directory", **{setting: ".."})
    _refuses(environ, "the checkout", **{setting: Path(local.__file__).parents[2]})
    _refuses(environ, "source checkout", **{setting: other})


@SETTINGS
def test_a_symbolic_link_is_refused(environ, setting, tmp_path):
    """What it points at may be anybody's, so the place itself has to be named; the target stays."""
    target, link = tmp_path / "elsewhere", tmp_path / "bot" / "link"
    target.mkdir()
    link.symlink_to(target)

    _refuses(environ, "symbolic link to", **{setting: link})
    assert target.is_dir()


def test_a_symbolic_link_inside_the_store_is_refused(environ, bot_state, tmp_path):
    """A key file is a file; a link by its name points out of the store."""
    (tmp_path / "precious").write_text("precious")
    (bot_state / "store" / "@bot:hs.test_E.db").symlink_to(tmp_path / "precious")

    _refuses(environ, "more than a bot's store: @bot:hs.test_E.db")


def test_a_loop_of_links_above_is_one_line(environ, tmp_path):
    """Not a traceback."""
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    _refuses(environ, "cannot look", MATRIX_STORE_PATH=tmp_path / "a" / "store")


def test_a_mount_point_is_refused(environ):
    """/proc is one wherever these tests run."""
    _refuses(environ, "mount point", MATRIX_STORE_PATH="/proc")


def test_a_directory_that_holds_something_else_is_refused_by_name(environ, bot_state):
    """The message names what is there, so that a person sees the mistake."""
    (bot_state / "store" / "thesis.odt").write_text("x")
    (bot_state / "store" / "photos").mkdir()

    _refuses(environ, "more than a bot's store: photos, thesis.odt")


def test_key_files_of_another_account_are_refused_by_name(environ, bot_state):
    """Every nio client names them so; the session says whose are ours, else the setting, and without both none are."""
    store = bot_state / "store"
    (store / "@alice:matrix.org_ABCDEF.db").write_text("keys")
    _refuses(environ, "more than a bot's store: @alice:matrix.org_ABCDEF.db$")
    _refuses(environ, "more than a bot's store: @alice:matrix.org_ABCDEF.db$", MATRIX_USER_ID="@alice:matrix.org")

    (store / "session.json").write_text("damaged")
    _refuses(environ, "more than a bot's store: @alice:matrix.org_ABCDEF.db$")
    _refuses(environ, "@alice:.+, @bot:.+ and 2 more", MATRIX_USER_ID="")
    (store / "@alice:matrix.org_ABCDEF.db").unlink()
    assert len(local.survey(Paths.from_environ(environ))) == 1 + 5 + 1


def test_what_cannot_be_looked_at_is_not_called_absent(environ, monkeypatch):
    """Newer Pythons answer False to `exists` and `is_symlink` for any error."""
    monkeypatch.setattr(Path, "exists", os.path.exists)
    monkeypatch.setattr(Path, "is_symlink", os.path.islink)

    _refuses(environ, "cannot look", MATRIX_STORE_PATH=Path(environ["MATRIX_STORE_PATH"]).with_name("x" * 300))
    _refuses(environ, "cannot look", MATRIX_DB_PATH=Path(environ["MATRIX_DB_PATH"]).with_name("x" * 300))


def test_a_store_that_is_a_file_is_refused(environ, bot_state):
    """Deleting a directory was asked for."""
    _refuses(environ, "not a directory", MATRIX_STORE_PATH=bot_state / "store" / "session.json")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_database_that_is_no_regular_file_is_refused(environ, tmp_path, make):
    """Directories, pipes, devices."""
    make(tmp_path / "odd.db")

    _refuses(environ, "not a regular file", MATRIX_DB_PATH=tmp_path / "odd.db")
    _refuses(environ, "not a regular file", MATRIX_DB_PATH="/dev/null")


def test_one_path_for_both_is_refused(environ, tmp_path):
    """It cannot be a file and a directory."""
    _refuses(environ, "the same", MATRIX_DB_PATH=tmp_path / "bot.db", MATRIX_STORE_PATH=tmp_path / "bot.db")


async def test_a_database_inside_the_store_directory_is_fine(environ, bot_state, shown):
    """Some keep both together; its files are the bot's too, journals of interrupted runs among them."""
    inside = bot_state / "store" / "bot.db"
    (bot_state / "bot.db").rename(inside)
    for journal in ("bot.db.reset-journal", "bot.db.reset-journal-1a2b3c"):
        (bot_state / "store" / journal).write_text("")

    summary = await shown.reset({**environ, "MATRIX_DB_PATH": str(inside)}, LOCAL, yes=True)

    assert summary.exit_code == 0
    assert tree(bot_state) == {}


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["directory", "link"])
def test_what_is_only_named_like_a_journal_is_refused_inside_the_store(environ, bot_state, make):
    """A journal is a file; and it is nothing of the bot's in a store that the database does not live in."""
    inside = bot_state / "store" / "bot.db"
    make(bot_state / "store" / "bot.db.reset-journal-1a2b3c")

    _refuses(environ, "more than a bot's store: bot.db.reset-journal-1a2b3c")
    (bot_state / "bot.db").rename(inside)
    _refuses(environ, "more than a bot's store: bot.db.reset-journal-1a2b3c", MATRIX_DB_PATH=inside)


@pytest.mark.parametrize("path", ["/", ".", "./", ".."])
async def test_a_database_path_that_names_no_file_is_one_line_for_the_server_too(environ, shown, path):
    """The journal goes beside the database; the local part has its own words for such a path."""
    with pytest.raises(Refused, match=r"MATRIX_DB_PATH .+ names no file"):
        await shown.reset({**environ, "MATRIX_DB_PATH": path}, "server-leave-forget", dry_run=True)


# What counts as the bot's database


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 4096, os.urandom(4096), b"SQLite format 3\0" + b"\xff" * 50],
    ids=["empty", "zero", "noise", "cut"],
)
def test_a_damaged_database_can_still_be_reset(environ, bot_state, content):
    """It is what a reset is for: named like a database, and a bot's session in the store vouches for it."""
    Path(environ["MATRIX_DB_PATH"]).write_bytes(content)

    assert local.survey(Paths.from_environ(environ))[0].present


@pytest.mark.parametrize("content", [os.urandom(4096), b"\xd0\xcf\x11\xe0" + bytes(600)], ids=["encrypted", "other"])
def test_a_binary_file_that_no_session_vouches_for_is_refused(environ, content):
    """An encrypted database of another program looks like noise too."""
    Path(environ["MATRIX_DB_PATH"]).write_bytes(content)

    _refuses(environ, "no SQLite database, not the bot's database")


def test_a_damaged_database_without_our_mark_needs_a_voucher(environ, bot_state):
    """Nothing in it says whose it is."""
    db = Path(environ["MATRIX_DB_PATH"])
    db.unlink()
    make_database(db, 0, table="bookmarks")
    content = db.read_bytes()
    db.write_bytes(content[:100] + b"\xff" * 20 + content[120:])
    assert local.survey(Paths.from_environ(environ))[0].present

    (bot_state / "store" / "session.json").unlink()
    _refuses(environ, "cannot be recognised as the bot's database")


def test_our_database_with_a_damaged_body_can_be_reset(environ):
    """Its header still carries our mark."""
    db = Path(environ["MATRIX_DB_PATH"])
    make_database(db)
    db.write_bytes(db.read_bytes()[:200] + b"\xff" * 9000)

    assert local.survey(Paths.from_environ(environ))[0].present


@pytest.mark.parametrize(
    "content", ["my notes\n", "größer " * 600 + "é" * 2000, ""], ids=["text", "long text", "empty"]
)
def test_a_file_that_is_something_else_is_refused(environ, tmp_path, content):
    """Text is no database of a bot that has never been; without a database's name nor is a file that holds nothing."""
    (tmp_path / "notes").write_text(content)
    _refuses(environ, "not the bot's database", MATRIX_DB_PATH=tmp_path / "notes")

    if content:
        (tmp_path / "notes.db").write_text(content)
        _refuses(environ, "is text", MATRIX_DB_PATH=tmp_path / "notes.db")


def test_a_database_overwritten_with_text_can_be_reset_where_a_bots_session_vouches_for_it(environ, bot_state):
    """The bot calls such a file damaged and sends people here; its session beside it says whose it was."""
    db = Path(environ["MATRIX_DB_PATH"])
    db.write_text("this is not a database")

    assert local.survey(Paths.from_environ(environ))[0].present
    db.rename(db.with_suffix(".txt"))
    _refuses(environ, "is text", MATRIX_DB_PATH=db.with_suffix(".txt"))


def test_a_binary_file_without_a_databases_name_is_refused(environ, tmp_path):
    """A picture is not a broken database."""
    (tmp_path / "me.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))

    _refuses(environ, "no SQLite database", MATRIX_DB_PATH=tmp_path / "me.png")


def test_another_programs_database_is_refused(environ, tmp_path):
    """By its mark, or without a mark by its tables."""
    make_database(tmp_path / "marked.db", 0x12345678)
    make_database(tmp_path / "unmarked.db", 0, table="bookmarks")

    _refuses(environ, "0x12345678", MATRIX_DB_PATH=tmp_path / "marked.db")
    _refuses(environ, "holds bookmarks", MATRIX_DB_PATH=tmp_path / "unmarked.db")


def test_a_database_that_sqlite_cannot_read_is_not_called_damaged(environ):
    """A format from the future says nothing about whose it is; the bot calls only a broken file damaged."""
    db = Path(environ["MATRIX_DB_PATH"])
    make_database(db, 0, table="bookmarks")
    schema_format = slice(44, 48)  # https://sqlite.org/fileformat.html#the_database_header
    content = bytearray(db.read_bytes())
    content[schema_format] = (9).to_bytes(4, "big")
    db.write_bytes(content)

    _refuses(environ, "cannot be recognised as the bot's database: unsupported file format")


def test_a_text_file_named_like_the_side_file_of_a_missing_database_is_refused(environ, tmp_path):
    """Nothing says whose it is. What an interrupted reset leaves of a log is no text, and goes."""
    (tmp_path / "diary-journal").write_text("Dear diary")
    _refuses(environ, "diary-journal is text", MATRIX_DB_PATH=tmp_path / "diary")

    Path(f"{environ['MATRIX_DB_PATH']}-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(28))
    assert [step.present for step in local.survey(Paths.from_environ(environ))] == [False, True, False]


def test_a_mark_still_in_the_write_ahead_log_counts_and_looking_leaves_no_trace(environ, tmp_path):
    """A killed bot's database can have its mark in the log only; the survey reads a copy."""
    original, db = tmp_path / "original.db", Path(environ["MATRIX_DB_PATH"])
    with closing(sqlite3.connect(original, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for suffix in ("", "-wal"):  # copied while open: closing would write the log into the file
            Path(f"{db}{suffix}").write_bytes(Path(f"{original}{suffix}").read_bytes())
    before = tree(db.parent)
    assert db.read_bytes()[68:72] == bytes(4)

    steps = local.survey(Paths.from_environ(environ))

    assert steps[0].present
    assert tree(db.parent) == before


# While a bot runs


async def test_a_database_in_use_is_refused_with_the_bots_pid(environ, bot_state, shown):
    """The bot holds a flock on its database; nothing is touched, in a dry run neither."""
    before = tree(bot_state)
    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)

        for options in ({"yes": True}, {"dry_run": True}):
            with pytest.raises(Refused, match=rf"in use by a running bot \(pid {os.getpid()}\) or another reset"):
                await shown.reset(environ, LOCAL, **options)

    assert tree(bot_state) == before


async def test_a_bot_whose_database_was_removed_is_noticed(environ, bot_state, shown):
    """It goes on with its store, and there is no file left to hold."""
    with (bot_state / "bot.db").open("rb"):
        (bot_state / "bot.db").unlink()
        before = tree(bot_state)

        with pytest.raises(Refused, match=rf"is gone, but a running bot \(pid {os.getpid()}\) still uses it"):
            await shown.reset(environ, LOCAL, yes=True)

    assert tree(bot_state) == before


def test_a_bot_is_noticed_through_a_link_to_its_database(bot_state):
    """A server reset only looks, so a link is no reason not to."""
    from greenroom_reset import database

    (bot_state / "link.db").symlink_to(bot_state / "bot.db")
    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)

        assert database.in_use_by(bot_state / "link.db") == f"pid {os.getpid()}"


def test_the_pid_comes_from_the_database_where_the_kernel_does_not_tell(bot_state, monkeypatch):
    """Not every system has /proc/locks."""
    from greenroom_reset import database

    with closing(sqlite3.connect(bot_state / "bot.db")) as connection, connection:
        connection.execute("INSERT INTO meta VALUES ('pid', '4711')")
    monkeypatch.setattr(Path, "read_text", lambda self: "")

    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)
        assert database.in_use_by(bot_state / "bot.db") == "pid 4711"


def test_looking_for_the_pid_leaves_no_trace(bot_state, monkeypatch):
    """SQLite would make a log and an index beside a database that it only reads."""
    from greenroom_reset import database

    with closing(sqlite3.connect(bot_state / "bot.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO meta VALUES ('pid', '4711')")
        connection.commit()
    before = tree(bot_state)
    monkeypatch.setattr(Path, "read_text", lambda self: "")

    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)
        assert database.in_use_by(bot_state / "bot.db") == "pid 4711"

    assert tree(bot_state) == before


@pytest.mark.parametrize("device", ["the file's", "another, as btrfs has it"])
def test_a_lock_on_another_file_with_the_same_inode_number_is_not_taken_for_ours(bot_state, monkeypatch, device):
    """Numbers repeat from device to device; where the kernel shows ours under another one, the only entry counts."""
    from greenroom_reset import database

    seen = (bot_state / "bot.db").stat()
    ours = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
    stranger = f"1: FLOCK  ADVISORY  WRITE 99999 fff:fff:{seen.st_ino} 0 EOF\n"
    holder = "2: FLOCK  ADVISORY  WRITE 4711 {} 0 EOF\n"
    alone = holder.format(f"ffe:ffe:{seen.st_ino}")
    locks = f"{stranger}{holder.format(ours)}{stranger}" if device == "the file's" else alone
    monkeypatch.setattr(Path, "read_text", lambda self: locks)

    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)
        assert database.in_use_by(bot_state / "bot.db") == "pid 4711"


# When something goes wrong midway


def test_only_planned_files_go_and_what_stays_is_reported(environ, bot_state):
    """A file that came after the plan is nobody's to delete; its directory stays and is reported."""
    steps = local.survey(Paths.from_environ(environ))
    (bot_state / "store" / "newcomer").write_text("x")

    failures = local.delete(steps)

    assert list(failures) == [bot_state / "store"]
    assert tree(bot_state) == {"store": b"", "store/newcomer": b"x"}


async def test_files_that_changed_since_the_plan_are_not_deleted(environ, bot_state, shown):
    """Somebody thought about the question for a while: what was agreed to is not what is there now."""
    new_key_file = bot_state / "store" / "@bot:hs.test_NEW.db"
    shown.answer = lambda: "yes"[: 3 + new_key_file.write_text("")]

    with pytest.raises(Refused, match="not what they were when the plan was made"):
        await shown.reset(environ, LOCAL)

    assert (bot_state / "bot.db").exists()


async def test_a_file_that_cannot_be_deleted_is_a_failure_and_the_rest_goes_on(environ, bot_state, shown, monkeypatch):
    """Exit code 1, the reason beside the path, everything else done."""
    unlink = Path.unlink

    def refuse_one(path: Path, missing_ok: bool = False) -> None:
        if path.name == "bot.db":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_one)  # as root, permissions stop nobody
    summary = await shown.reset(environ, LOCAL, yes=True)

    assert summary.exit_code == 1
    assert [(r.step.path.name, r.error) for r in summary.files if r.state == "failed"] == [
        ("bot.db", "Permission denied")
    ]
    assert list(tree(bot_state)) == ["bot.db"]
    assert json.dumps(summary.json())
