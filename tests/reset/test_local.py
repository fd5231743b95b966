"""Local reset: it deletes exactly the bot's files, and refuses a path that is no bot's state."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from greenroom_reset import local
from greenroom_reset.errors import Refused
from greenroom_reset.local import Paths
from greenroom_reset.summary import document, manual_steps, summary_lines
from tests.reset.conftest import LOCAL, Shown, make_database, refuses, tree


async def test_it_deletes_database_side_files_and_store(environ, bot_state, shown):
    """A local reset deletes the database, its side files and the store, and names each file."""
    for suffix in ("-wal", "-shm", "-journal"):
        (bot_state / f"bot.db{suffix}").write_bytes(b"x")

    summary = await shown.reset(environ, LOCAL, yes=True)

    assert summary.exit_code == 0
    assert tree(bot_state) == {}
    assert {step.result for step in summary.files} == {"deleted"}
    assert len(summary.files) == 1 + 3 + 5 + 1


async def test_a_dry_run_prints_the_plan_of_the_real_run_and_changes_nothing(environ, bot_state):
    """A dry run prints the same plan as the real run and changes no byte."""
    before, dry, real = tree(bot_state), Shown(), Shown()

    summary = await dry.reset(environ, LOCAL, dry_run=True)
    after = tree(bot_state)
    await real.reset(environ, LOCAL, yes=True)

    assert after == before
    assert summary.exit_code == 0
    assert {step.result for step in summary.files} == {"would be deleted"}
    assert dry.text.getvalue() == real.text.getvalue() != ""


async def test_what_is_not_there_is_already_absent(environ, shown):
    """A reset that finds nothing says `already absent` and asks nothing."""
    shown.answer = "n"

    summary = await shown.reset(environ, LOCAL)

    assert summary.exit_code == 0
    assert {step.result for step in summary.files} == {"already absent"}


async def test_it_needs_no_server_settings_and_says_that_rooms_stay(environ, bot_state, shown):
    """A local reset needs only the two paths, and says that the rooms stay and the bot rebuilds from them."""
    paths_only = {key: value for key, value in environ.items() if key.endswith("_PATH")}

    summary = await shown.reset(paths_only, LOCAL, yes=True)

    assert summary.exit_code == 0
    text = "\n".join(summary_lines(summary))
    assert "every room stays as it is, and the bot's next start rebuilds from them" in text
    assert "--mode server-leave-forget" in text


def test_a_bot_in_the_default_places_is_found(tmp_path, monkeypatch):
    """Absent settings mean the bot's own defaults, relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "lambda_matrix.db")

    steps = local.survey(Paths.from_environ({"MATRIX_DB_PATH": ""}))

    assert [(s.path, s.state) for s in steps] == [
        (tmp_path / "lambda_matrix.db", "planned"),
        (tmp_path / "matrix_store", "already absent"),
    ]


async def test_the_answer_no_changes_nothing(environ, bot_state, shown):
    """Any answer but a clear yes changes nothing."""
    before = tree(bot_state)
    shown.answer = "yeah, maybe"

    with pytest.raises(Refused, match="not confirmed"):
        await shown.reset(environ, LOCAL)

    assert tree(bot_state) == before


async def test_the_answer_yes_goes_ahead(environ, bot_state, shown):
    """The answer `y` deletes the files."""
    shown.answer = "y"

    summary = await shown.reset(environ, LOCAL)

    assert summary.exit_code == 0
    assert tree(bot_state) == {}


async def test_nobody_to_ask_is_a_refusal(environ, bot_state, shown):
    """Without a terminal and without `--yes` nothing changes."""
    before = tree(bot_state)

    with pytest.raises(Refused, match="--yes"):
        await shown.reset(environ, LOCAL)

    assert tree(bot_state) == before


SETTINGS = pytest.mark.parametrize("setting", ["MATRIX_DB_PATH", "MATRIX_STORE_PATH"])


@SETTINGS
@pytest.mark.parametrize("path", ["/", "/.", "//", "/usr/.."])
def test_the_root_is_refused_however_it_is_written(environ, setting, path):
    """The root directory is refused in every spelling."""
    refuses(environ, "or holds it", **{setting: path})


@SETTINGS
def test_home_and_what_holds_it_are_refused(environ, setting, tmp_path, monkeypatch):
    """The home directory and each directory above it are refused."""
    home = tmp_path / "homes" / "me"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))

    refuses(environ, "the home directory", **{setting: home})
    refuses(environ, "the home directory", **{setting: home.parent})
    refuses(environ, "the home directory", **{setting: f"{tmp_path}/bot/../homes/me"})


@SETTINGS
def test_the_checkout_and_the_working_directory_are_refused(environ, setting, tmp_path, monkeypatch):
    """Source checkouts, the working directory and the directories above it are refused."""
    here, other = tmp_path / "here" / "below", tmp_path / "other"
    (other / ".git").mkdir(parents=True)
    here.mkdir(parents=True)
    monkeypatch.chdir(here)

    refuses(environ, "the working directory", **{setting: "."})
    refuses(environ, "the working directory", **{setting: ".."})
    refuses(environ, "the checkout", **{setting: Path(local.__file__).parents[2]})
    refuses(environ, "source checkout", **{setting: other})


@SETTINGS
def test_a_symbolic_link_is_refused(environ, setting, tmp_path):
    """A symbolic link is refused, and its target stays."""
    target, link = tmp_path / "elsewhere", tmp_path / "bot" / "link"
    target.mkdir()
    link.symlink_to(target)

    refuses(environ, "symbolic link to", **{setting: link})
    assert target.is_dir()


def test_a_symbolic_link_inside_the_store_is_refused(environ, bot_state, tmp_path):
    """A symbolic link that is named like a key file is refused."""
    (tmp_path / "precious").write_text("precious")
    (bot_state / "store" / "@bot:hs1_E.db").symlink_to(tmp_path / "precious")

    refuses(environ, r"more than a bot's store: @bot:hs1_E.db \(not a regular file\)")


def test_a_loop_of_links_above_is_one_line(environ, tmp_path):
    """A loop of symbolic links is a one-line error."""
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    refuses(environ, "cannot look", MATRIX_STORE_PATH=tmp_path / "a" / "store")


def test_a_mount_point_is_refused(environ):
    """A mount point is refused; /proc is one on each machine that runs these tests."""
    refuses(environ, "mount point", MATRIX_STORE_PATH="/proc")


def test_a_directory_that_holds_something_else_is_refused_by_name(environ, bot_state):
    """A store with strange files is refused, and the message names them."""
    (bot_state / "store" / "thesis.odt").write_text("x")
    (bot_state / "store" / "photos").mkdir()

    refuses(environ, r"more than a bot's store: photos \(not a regular file\), thesis.odt")


def test_what_cannot_be_looked_at_is_not_called_absent(environ, monkeypatch):
    """A path that cannot be examined is refused, also where a newer Python answers False to `exists`."""
    monkeypatch.setattr(Path, "exists", os.path.exists)
    monkeypatch.setattr(Path, "is_symlink", os.path.islink)

    refuses(environ, "cannot look", MATRIX_STORE_PATH=Path(environ["MATRIX_STORE_PATH"]).joinpath(*["x" * 200] * 25))
    refuses(environ, "cannot look", MATRIX_DB_PATH=Path(environ["MATRIX_DB_PATH"]).joinpath(*["x" * 200] * 25))


def test_a_store_that_is_a_file_is_refused(environ, bot_state):
    """A store path that is a file is refused."""
    refuses(environ, "not a directory", MATRIX_STORE_PATH=bot_state / "store" / "session.json")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_database_that_is_no_regular_file_is_refused(environ, tmp_path, make):
    """A database path that is a directory, a pipe or a device is refused."""
    make(tmp_path / "odd.db")

    refuses(environ, "not a regular file", MATRIX_DB_PATH=tmp_path / "odd.db")
    refuses(environ, "not a regular file", MATRIX_DB_PATH="/dev/null")


def test_one_path_for_both_is_refused(environ, tmp_path):
    """One path for database and store is refused."""
    refuses(environ, "the same", MATRIX_DB_PATH=tmp_path / "bot.db", MATRIX_STORE_PATH=tmp_path / "bot.db")


async def test_a_database_inside_the_store_directory_is_fine(environ, bot_state, shown):
    """A database inside the store directory goes with the store, side files included."""
    inside = bot_state / "store" / "bot.db"
    (bot_state / "bot.db").rename(inside)
    (bot_state / "store" / "bot.db-wal").write_bytes(b"x")

    summary = await shown.reset({**environ, "MATRIX_DB_PATH": str(inside)}, LOCAL, yes=True)

    assert summary.exit_code == 0
    assert tree(bot_state) == {}


def test_only_planned_files_go_and_what_stays_is_reported(environ, bot_state):
    """A file that came after the plan stays, and so its directory is reported as failed."""
    steps = local.survey(Paths.from_environ(environ))
    (bot_state / "store" / "newcomer").write_text("x")

    local.delete(steps)

    assert [step.path for step in steps if step.state == "failed"] == [bot_state / "store"]
    assert tree(bot_state) == {"store": b"", "store/newcomer": b"x"}


async def test_files_that_changed_since_the_plan_are_not_deleted(environ, bot_state, shown):
    """If the local files change while the question is open, nothing is deleted."""
    new_key_file = bot_state / "store" / "@bot:hs1_NEW.db"
    shown.answer = lambda: "yes"[: 3 + new_key_file.write_text("")]

    with pytest.raises(Refused, match="have changed since the plan was made"):
        await shown.reset(environ, LOCAL)

    assert (bot_state / "bot.db").exists()


async def test_a_file_that_cannot_be_deleted_is_a_failure_and_the_rest_goes_on(environ, bot_state, shown, monkeypatch):
    """A file that cannot be deleted is reported with the reason, the others go, and the exit code is 1."""
    unlink = Path.unlink

    def refuse_one(path: Path, missing_ok: bool = False) -> None:
        if path.name == "bot.db":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_one)  # as root, permissions stop nobody
    summary = await shown.reset(environ, LOCAL, yes=True)

    assert summary.exit_code == 1
    failed = [(step.path.name, step.error) for step in summary.files if step.state == "failed"]
    assert failed == [("bot.db", "Permission denied")]
    assert list(tree(bot_state)) == ["bot.db"]
    assert json.dumps(document(summary))


# An access token


@pytest.mark.parametrize(
    ("password", "cure"),
    [
        ("", "make a new token before the next start, or set MATRIX_PASSWORD instead of it"),
        ("secret", r"unset it before the next start \(the bot prefers it to MATRIX_PASSWORD\), or make a new token"),
    ],
)
async def test_a_token_whose_keys_go_is_told_before_and_afterwards(environ, bot_state, shown, password, cure):
    """Without its keys the token is useless: a note says so before the question, and a manual step afterwards."""
    told = f"MATRIX_ACCESS_TOKEN belongs to a device whose keys go with the store.+: {cure}"
    asked: list[str] = []
    shown.answer = lambda: asked.append(shown.text.getvalue()) or "y"

    summary = await shown.reset({**environ, "MATRIX_ACCESS_TOKEN": "saved", "MATRIX_PASSWORD": password}, LOCAL)

    assert re.search(f"^Note: {told}$", asked[0], re.MULTILINE)
    assert re.match(told, document(summary)["manual_steps"][0])
    assert "\n".join(summary_lines(summary)).count("MATRIX_ACCESS_TOKEN") == 1


async def test_a_token_is_told_of_if_its_session_is_lost(environ, bot_state):
    """Key files without a session may be those of the token's device."""
    (bot_state / "store" / "session.json").unlink()

    for store, told in ((environ["MATRIX_STORE_PATH"], 1), (f"{bot_state}/absent", 0)):
        settings = {**environ, "MATRIX_ACCESS_TOKEN": "saved", "MATRIX_STORE_PATH": store}
        summary = await Shown().reset(settings, LOCAL, dry_run=True)
        assert "\n".join(manual_steps(summary)).count("MATRIX_ACCESS_TOKEN") == told


async def test_a_token_that_the_bot_has_not_used_yet_is_no_matter(environ, bot_state, shown):
    """A session with another token shows that this token's device has no keys in the store."""
    summary = await shown.reset({**environ, "MATRIX_ACCESS_TOKEN": "new"}, LOCAL, yes=True)

    assert "MATRIX_ACCESS_TOKEN" not in shown.text.getvalue() + "\n".join(summary_lines(summary))
