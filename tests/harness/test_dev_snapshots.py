"""A named snapshot brings the dev state back whole, and a crash at any step leaves the old state or the new one."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import traceback
from collections.abc import Callable

import pytest

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import Wish
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.parts import Parts
from greenroom.commands.dev.snapshots.command import restore, snapshot
from greenroom.commands.dev.snapshots.moment import find, keep, listed, restore_at_rest, settle
from greenroom.commands.dev.snapshots.swap import check_finished, finish, told_again
from greenroom.commands.dev.tools import reset
from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver.settings import Secrets
from greenroom.processes.runs import RecordedRun
from greenroom.snapshots.kept import SnapshotDamaged
from tests.harness.dev_state import STATE

ENVIRONMENT = {
    "MATRIX_HOMESERVER": "http://127.0.0.1:8008",
    "MATRIX_USER_ID": "@bot:greenroom.test",
    "MATRIX_PASSWORD": "then",
    "MATRIX_RESPONDER": "mine:then",
}
SERVER = {**STATE["homeserver"], "url": "http://127.0.0.1:8008", "kind": "synapse", "backend": "process"}
THEN = {**STATE, "homeserver": SERVER, "people": [{"user_id": "@alice:x", "password": "then"}], "seed": "qa"}


@pytest.fixture
def folder(tmp_path) -> DevFolder:
    """A dev state in which the files say `then`. Nothing runs."""
    folder = DevFolder(tmp_path)
    folder.prepare()
    (folder.homeserver / "media/local").mkdir(parents=True)
    Secrets.kept_in(folder.homeserver / "secrets.json")
    for name in ("lock", "homeserver.yaml", "seeded-qa", "port"):
        (folder.homeserver / name).touch()
    (folder.bot / "matrix_store").mkdir(parents=True)
    write(folder, "then")
    folder.write_last(THEN, ENVIRONMENT)
    return folder


PLACES = ("homeserver/homeserver.db", "homeserver/media/local/picture", "bot/lambda_matrix.db", "bot/matrix_store/keys")


def write(folder: DevFolder, text: str) -> None:
    for place in PLACES:
        (folder.root / place).write_text(text)


def read(folder: DevFolder) -> set[str]:
    """Return what the files of the state say: one text, if they are of one moment."""
    return {(folder.root / place).read_text() for place in PLACES}


def test_a_state_comes_back_as_it_was(folder):
    """What was added since is gone, what was deleted is back, and the homeserver and the bot are of one moment."""
    keep(folder, "before")
    write(folder, "now")
    (folder.bot / "added").touch()
    (folder.homeserver / "secrets.json").unlink()
    shutil.rmtree(folder.homeserver / "media")
    (folder.homeserver / "media/local").mkdir(parents=True)

    restore_at_rest(folder, "before")

    assert read(folder) == {"then"}
    assert Secrets.read(folder.homeserver / "secrets.json")
    assert not (folder.bot / "added").exists()
    assert not (folder.root / "restoring").exists()


def test_locks_and_rendered_configuration_are_not_kept(folder):
    """They are written anew at each start."""
    keep(folder, "before")

    kept_files = find(folder, "before").files
    assert {"homeserver/secrets.json", "homeserver/port", "homeserver/seeded-qa", *PLACES} <= kept_files.keys()
    assert not {"homeserver/lock", "homeserver/homeserver.yaml"} & kept_files.keys()


def test_dev_env_has_the_account_of_then_and_the_other_settings_of_now(folder, tmp_path):
    """Where nothing runs there is no dev.json, and last.json is the one of then."""
    keep(folder, "before")
    now = {
        **ENVIRONMENT,
        "MATRIX_HOMESERVER": "http://127.0.0.1:9",
        "MATRIX_PASSWORD": "now",
        "MATRIX_RESPONDER": "b:c",
    }
    folder.write_last({**THEN, "people": []}, now)

    restore_at_rest(folder, "before")

    assert folder.recorded_environment() == {
        **ENVIRONMENT,
        "MATRIX_RESPONDER": "b:c",
        "MATRIX_DB_PATH": str(folder.bot / "lambda_matrix.db"),
        "MATRIX_STORE_PATH": str(folder.bot / "matrix_store"),
    }
    assert folder.last_state() == THEN
    assert not folder.state_file.exists()


def test_dev_json_says_who_can_log_in_now(folder):
    """People, blueprint and port are those of then; which bot runs, and on which backend, is as before."""
    keep(folder, "before")
    server = {**SERVER, "url": "http://engine:9009", "backend": "container"}
    bot = {**STATE["bot"], "command": "python other.py"}
    folder.write_state({**THEN, "people": [], "seed": "drift", "homeserver": server, "bot": bot}, {})

    restore_at_rest(folder, "before")

    assert folder.state() == {**THEN, "homeserver": {**server, "url": "http://engine:8008"}, "bot": bot}


def test_another_kind_of_homeserver_brings_its_backend_along():
    """Its data is of no use to the one that runs."""
    conduit = {**THEN, "homeserver": {**SERVER, "kind": "conduit", "backend": "container", "url": "http://far:1"}}

    told = told_again(THEN, conduit)

    assert told["homeserver"] == {**SERVER, "kind": "conduit", "backend": "container", "url": "http://far:1"}


@pytest.mark.parametrize("damaged", ["dev.env", "dev.json", "last.json"])
def test_a_damaged_note_of_now_does_not_stop_a_restore(folder, damaged):
    """It is written anew."""
    keep(folder, "before")
    folder.write_state(THEN, ENVIRONMENT)
    (folder.root / damaged).write_text("'damaged")

    restore_at_rest(folder, "before")

    assert folder.recorded_environment()["MATRIX_PASSWORD"] == "then"
    assert folder.last_state() == THEN


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "-x", "x" * 65, "ä", "a b", "x\n"])
@pytest.mark.parametrize("work", [keep, restore_at_rest])
def test_a_name_is_no_path(folder, work, name):
    """One clear line, and nothing is read or written anywhere."""
    with pytest.raises(Misuse, match="a snapshot's name has letters"):
        work(folder, name)

    assert not folder.snapshots.exists()


def test_a_name_that_is_taken_is_refused_unless_forced(folder):
    """The older one stays."""
    keep(folder, "before")
    write(folder, "now")

    with pytest.raises(Misuse, match="there is a snapshot before already"):
        keep(folder, "before")

    restore_at_rest(folder, "before")
    assert read(folder) == {"then"}
    write(folder, "later")
    keep(folder, "before", force=True)
    write(folder, "now")
    restore_at_rest(folder, "before")
    assert read(folder) == {"later"}
    assert [each.name for each in listed(folder)] == ["before"]
    assert [path.name for path in folder.snapshots.iterdir()] == ["before"]


def test_an_unknown_name_says_what_there_is(folder):
    """With a hint at one that is like it."""
    with pytest.raises(Misuse, match=r"no such snapshot: 'x'; there are none; try: .* snapshot NAME"):
        restore(folder, "x")
    keep(folder, "before")
    keep(folder, "clean")

    with pytest.raises(Misuse, match=r"'befor'; did you mean 'before'\?; there are before, clean"):
        restore(folder, "befor")


def test_where_dev_never_ran_there_is_nothing_to_keep(tmp_path):
    """And no folder is made."""
    with pytest.raises(HarnessError, match=r"there is no dev state in .* to keep; try: .*dev"):
        snapshot(DevFolder(tmp_path), "before")

    assert not (tmp_path / ".greenroom").exists()


def test_a_symbolic_link_is_refused(folder, tmp_path):
    """Half of the state would be somewhere else."""
    (folder.bot / "more").symlink_to(tmp_path)

    with pytest.raises(HarnessError, match="more is a symbolic link"):
        keep(folder, "before")

    assert list(listed(folder)) == []


@pytest.mark.parametrize("place", [*PLACES, "homeserver/secrets.json"])
def test_a_damaged_snapshot_is_refused_and_nothing_is_lost(folder, place):
    """One clear line; the list says so too where the manifest shows it."""
    keep(folder, "before")
    write(folder, "now")
    (folder.snapshots / "before/files" / place).write_text("other")

    with pytest.raises(SnapshotDamaged, match=f"snapshot .*before cannot be used: {place} has"):
        restore(folder, "before")

    assert read(folder) == {"now"}
    assert not (folder.root / "restoring.draft").exists()


def test_the_list_has_time_size_and_blueprint(folder, capsys):
    """A damaged one is listed as such."""
    keep(folder, "before")
    keep(folder, "broken")
    (folder.snapshots / "broken/manifest.json").write_text("{}")
    (folder.snapshots / "a-file").touch()

    snapshot(folder, "", list_them=True, console=Console())

    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["before", *first.split()[1:3], "0.0", "MB", "qa"]
    assert second.startswith("broken  damaged: manifest.json cannot be read")


def test_prune_keeps_named_snapshots(folder, tmp_path, monkeypatch, capsys):
    """It removes the seeds in the cache, and what a killed command left."""
    monkeypatch.setenv("GREENROOM_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache/snapshots/seed").mkdir(parents=True)
    (tmp_path / "cache/snapshots/seed/file").write_text("seed")
    keep(folder, "before")
    (folder.snapshots / ".draft-1-gone-x").mkdir()

    snapshot(folder, "", prune=True, console=Console())

    assert [path.name for path in folder.snapshots.iterdir()] == ["before"]
    assert list((tmp_path / "cache/snapshots").glob("[!.]*")) == []
    assert "removed 1 seed from" in capsys.readouterr().out


@pytest.mark.parametrize("given", [{}, {"list_them": True, "prune": True}])
def test_one_thing_at_a_time(folder, given):
    """Nothing, or two things, is misuse."""
    with pytest.raises(Misuse, match="one of a NAME, --list and --prune is needed"):
        snapshot(folder, "", **given)


def test_starting_over_keeps_named_snapshots(folder):
    """`dev --fresh` is one of the things to come back from."""
    keep(folder, "before")

    folder.wipe()

    restore_at_rest(folder, "before")
    assert read(folder) == {"then"}


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a copy of this process that kills itself before a step; return whether it got so far.

    A step is a file copied or flushed, a folder moved or removed.
    """
    if (child := os.fork()) == 0:
        left = itertools.count(step, -1)

        def counted(doing: Callable[..., object]) -> Callable[..., object]:
            def one(*args: object, **options: object) -> object:
                if next(left) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return doing(*args, **options)

            return one

        for owner, name in ((shutil, "copyfile"), (shutil, "rmtree"), (os, "rename"), (os, "fsync")):
            setattr(owner, name, counted(getattr(owner, name)))
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_a_snapshot_that_is_killed_is_whole_or_not_there(folder):
    """At each copy, flush and rename. The next one of that name succeeds."""
    killed = 0
    while killed_at(killed, lambda: keep(folder, "before")):
        names = [each.name for each in listed(folder) if not each.problem]
        assert names in ([], ["before"])
        if names:
            find(folder, "before").check()
        keep(folder, "before", force=True)
        assert [path.name for path in folder.snapshots.iterdir()] == ["before"]
        shutil.rmtree(folder.snapshots)
        killed += 1

    assert killed > 20


def test_a_snapshot_that_is_killed_while_it_replaces_one_leaves_one_of_both(folder):
    """The older one, or the newer one, under the name of both."""
    keep(folder, "before")
    shutil.copytree(folder.snapshots, folder.root / "older")
    write(folder, "later")
    found = []
    while killed_at(len(found), lambda: keep(folder, "before", force=True)):
        settle(folder)
        restore_at_rest(folder, "before")
        found += [*read(folder)]
        assert read(folder) in ({"then"}, {"later"})
        write(folder, "later")
        shutil.rmtree(folder.snapshots)
        shutil.copytree(folder.root / "older", folder.snapshots)

    assert set(found) == {"then", "later"}
    assert found == sorted(found, reverse=True)  # and never back


def test_a_restore_that_is_killed_leaves_the_old_state_or_is_finished_by_the_next_command(folder):
    """At each copy, rename and removal, with the crash also while it is finished."""
    keep(folder, "before")
    found = []
    while killed_at(len(found), lambda: restore_at_rest(folder, "before")):
        for again in range(len(found) % 3):  # what finishes it is killed too
            killed_at(again, lambda: finish(folder))
        decided = (folder.root / "restoring").exists()
        if decided:
            with pytest.raises(HarnessError, match=r"was interrupted; finish it: .* down, then .* dev"):
                reset(folder, local=True, server=False)
        finish(folder)
        check_finished(folder)
        assert read(folder) in ({"now"}, {"then"})
        assert read(folder) == {"then"} or not decided
        found += [*read(folder)]
        write(folder, "now")
        left = {path.name for path in folder.root.iterdir()}
        assert left == {".gitignore", "bot", "dev.env", "homeserver", "last.json", "logs", "snapshots"}

    assert set(found) == {"now", "then"}


async def test_nothing_is_started_on_half_a_restore(folder):
    """A restore that the disk did not let finish is finished first, or replaced by another one."""
    keep(folder, "before")
    write(folder, "now")
    (folder.root / "restoring").mkdir()
    parts = Parts(folder, RecordedRun("x", folder.root), False, dict(THEN), {})

    with pytest.raises(HarnessError, match="was interrupted"):
        await anext(Wish("start").carried_out(parts))
    with pytest.raises(HarnessError, match="was interrupted"):
        keep(folder, "later")

    restore_at_rest(folder, "before")
    assert read(folder) == {"then"}


def test_a_full_disk_is_one_line(folder, monkeypatch):
    """A `dev` in the foreground that was asked for a snapshot goes on."""

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28), "somewhere")

    monkeypatch.setattr("greenroom.commands.dev.snapshots.moment.shutil.copyfile", full)

    with pytest.raises(HarnessError, match="snapshot before cannot be written: somewhere: No space left on device"):
        keep(folder, "before")

    assert list(folder.snapshots.iterdir()) == []
