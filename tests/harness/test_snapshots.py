"""The format of snapshots and their cache: damage is found, a killed writer leaves nothing, the bound holds."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.errors import HarnessError, Misuse
from greenroom.snapshots import kept
from greenroom.snapshots.cache import DEFAULT_SIZE_MB, SnapshotCache
from greenroom.snapshots.kept import SnapshotDamaged, SnapshotExists

DATABASE = b"rooms and people " * 1000
FACTS = {"rooms": {"home": "!1:greenroom.test"}}


def fill(files: Path) -> None:
    """Put a small database and a file in a folder below it into a draft."""
    (files / "homeserver.db").write_bytes(DATABASE)
    (files / "media" / "local").mkdir(parents=True)
    (files / "media" / "local" / "picture").write_bytes(b"a picture")


@pytest.fixture
def target(tmp_path) -> Path:
    """A whole snapshot."""
    folder = tmp_path / "snapshots" / "one"
    with kept.writing(folder, FACTS) as files:
        fill(files)
    return folder


def read(folder: Path) -> kept.Snapshot:
    snapshot = kept.read(folder)
    assert snapshot is not None
    return snapshot


# -- the format


def test_what_was_written_comes_back_private_and_equal(target, tmp_path):
    """Facts and files are as they were written; only their owner can read the snapshot and the copy."""
    snapshot = read(target)
    snapshot.check()
    snapshot.copy_to(tmp_path / "copy")

    assert snapshot.facts == FACTS
    assert (tmp_path / "copy" / "homeserver.db").read_bytes() == DATABASE
    assert (tmp_path / "copy" / "media" / "local" / "picture").read_bytes() == b"a picture"
    assert snapshot.size_bytes == len(DATABASE) + len(b"a picture")
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "copy" / "homeserver.db").stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["one"]


def test_a_copy_can_leave_files_out(target, tmp_path):
    """What the caller has already, its own secrets for instance, is not overwritten."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "homeserver.db").write_text("mine")

    read(target).copy_to(copy, leave_out=["homeserver.db"])

    assert (copy / "homeserver.db").read_text() == "mine"
    assert (copy / "media" / "local" / "picture").exists()


def lose(folder: Path) -> None:
    (folder / kept.FILES / "homeserver.db").unlink()


def truncate(folder: Path) -> None:
    os.truncate(folder / kept.FILES / "homeserver.db", 100)


def alter(folder: Path) -> None:
    (folder / kept.FILES / "homeserver.db").write_bytes(DATABASE[:-1] + b"!")


def add(folder: Path) -> None:
    (folder / kept.FILES / "homeserver.db-wal").write_text("of another database")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lose, "homeserver.db is missing"),
        (truncate, f"homeserver.db has 100 bytes, not {len(DATABASE)}"),
        (alter, "homeserver.db has been altered"),
        (add, "homeserver.db-wal does not belong to it"),
    ],
)
def test_damaged_files_are_found_by_a_check_and_by_a_copy(target, tmp_path, damage, problem):
    """A missing, truncated, altered or additional file is named in one line."""
    damage(target)

    for use in (lambda: read(target).check(), lambda: read(target).copy_to(tmp_path / "copy")):
        with pytest.raises(SnapshotDamaged, match=f"cannot be used: {problem}. Try: make it again$"):
            use()


def forget(folder: Path) -> None:
    (folder / kept.MANIFEST).unlink()


def halve(folder: Path) -> None:
    os.truncate(folder / kept.MANIFEST, 40)


def rewrite(folder: Path) -> None:
    text = (folder / kept.MANIFEST).read_text()
    (folder / kept.MANIFEST).write_text(text.replace("!1:greenroom.test", "!2:greenroom.test"))


def of_tomorrow(folder: Path) -> None:
    manifest = json.loads((folder / kept.MANIFEST).read_text())
    (folder / kept.MANIFEST).write_text(json.dumps({**manifest, "format": kept.FORMAT + 1}))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (forget, "manifest.json is missing"),
        (halve, "manifest.json cannot be read"),
        (rewrite, "manifest.json has been altered"),
        (of_tomorrow, "it has format 2, and this Greenroom reads 1"),
    ],
)
def test_a_damaged_manifest_is_found_before_any_file_is_read(target, damage, problem):
    """So is a manifest of another format."""
    damage(target)

    with pytest.raises(SnapshotDamaged, match=problem):
        kept.read(target)


def test_what_is_not_there_is_no_damage(tmp_path):
    """A name that was never written is None."""
    assert kept.read(tmp_path / "never") is None


def test_a_snapshot_is_never_overwritten(target):
    """The second writer of one name gets an error, and the first snapshot stays as it is."""
    with pytest.raises(SnapshotExists), kept.writing(target, {}) as files:
        (files / "other").write_text("other")

    assert read(target).facts == FACTS
    read(target).check()
    assert [path.name for path in target.parent.iterdir()] == ["one"]


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    """An error while the files are collected goes through, and neither draft nor snapshot stays."""
    with pytest.raises(FileNotFoundError), kept.writing(tmp_path / "one", {}) as files:
        shutil.copyfile(tmp_path / "nowhere", files / "homeserver.db")

    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys, time
from pathlib import Path
from greenroom.snapshots import kept
with kept.writing(Path(sys.argv[1]), {}) as files:
    (files / "homeserver.db").write_bytes(b"half")
    print("filling", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing the snapshot `one`."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "one")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "filling\n"
    yield child
    child.kill()
    child.communicate()


def test_a_killed_writer_leaves_a_draft_that_the_next_one_removes(tmp_path, writer):
    """Until it is killed its draft stays; afterwards the next writer tidies up. There is never half a snapshot."""
    with kept.writing(tmp_path / "two", {}) as files:
        fill(files)
    drafts = [path for path in tmp_path.iterdir() if path.name.startswith(kept.DRAFT)]
    writer.kill()
    writer.wait()
    with kept.writing(tmp_path / "three", {}) as files:
        fill(files)

    assert len(drafts) == 1
    assert kept.read(tmp_path / "one") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["three", "two"]


# -- the cache


@pytest.fixture
def cache(tmp_path) -> SnapshotCache:
    """A cache with room for two of the snapshots below, and not for three."""
    return SnapshotCache(tmp_path / "cache", limit_bytes=2 * len(DATABASE) + 4000)


def keep(cache: SnapshotCache, *keys: str) -> None:
    for key in keys:
        with cache.writing(key, FACTS) as files:
            fill(files)
        time.sleep(0.02)  # so that the clock of the file system tells which is older


def names(cache: SnapshotCache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir())


def has(cache: SnapshotCache, key: str) -> bool:
    with cache.reading(key) as snapshot:
        return snapshot is not None


def test_what_was_not_used_for_longest_makes_room(cache):
    """A snapshot that is read counts as used; the oldest of the others goes when the bound is passed."""
    keep(cache, "one", "two")
    assert has(cache, "one")

    keep(cache, "three")

    assert names(cache) == ["one", "three"]


def test_what_is_being_read_stays(cache):
    """A reader's snapshot does not vanish under it, though it is the oldest. The next one goes in its place."""
    keep(cache, "one", "two")
    with cache.reading("one") as snapshot:
        assert snapshot is not None
        os.utime(cache.folder / "one", (0, 0))

        removed = cache.prune(0)

        snapshot.check()
    assert (removed, names(cache)) == (["two"], ["one"])
    assert cache.prune(0) == ["one"]


def test_a_damaged_manifest_counts_as_absent_and_is_removed(cache):
    """Nobody can use it, so its place is free for a new one."""
    keep(cache, "one")
    forget(cache.folder / "one")

    assert not has(cache, "one")
    assert names(cache) == []


def test_damage_found_by_a_copy_can_be_discarded_while_it_is_read(cache, tmp_path):
    """After `discard` the same key can be written again."""
    keep(cache, "one")
    alter(cache.folder / "one")

    with cache.reading("one") as snapshot:
        assert snapshot is not None
        with pytest.raises(SnapshotDamaged):
            snapshot.copy_to(tmp_path / "copy")
        cache.discard(snapshot.folder)
    keep(cache, "one")

    with cache.reading("one") as snapshot:
        assert snapshot is not None
        snapshot.check()


def test_two_writers_of_one_key_are_both_right(cache):
    """The first one to finish wins; the second one's block ends without an error, and one whole snapshot is there."""
    with cache.writing("one", FACTS) as files:
        fill(files)
        with cache.writing("one", FACTS) as again:
            fill(again)

    with cache.reading("one") as snapshot:
        assert snapshot is not None
        snapshot.check()
    assert names(cache) == ["one"]


def test_a_full_disk_is_one_clear_line(cache):
    """It says where there is no room, and how to do without. Nothing is left of the snapshot."""

    def full(files: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    problem = r"no snapshot can be kept in \S+cache: No space left on device; try: .* GREENROOM_CACHE_SIZE_MB=0"
    with pytest.raises(HarnessError, match=problem), cache.writing("one", FACTS) as files:
        full(files)

    assert names(cache) == []


def test_a_limit_of_zero_keeps_nothing(tmp_path):
    """Even the newest one is over the limit."""
    off = SnapshotCache(tmp_path / "cache", 0)

    keep(off, "one")

    assert names(off) == []


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"GREENROOM_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}, "/c/snapshots"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/greenroom/snapshots"),
        ({"XDG_CACHE_HOME": "relative"}, str(Path.home() / ".cache/greenroom/snapshots")),
        ({}, str(Path.home() / ".cache/greenroom/snapshots")),
    ],
)
def test_the_environment_chooses_the_folder(environment, folder):
    """Our own variable wins over the XDG one, and that over the home folder."""
    cache = SnapshotCache.chosen(environment)

    assert str(cache.folder) == folder
    assert cache.limit_bytes == DEFAULT_SIZE_MB * 1_000_000


def test_the_environment_chooses_the_bound_in_megabytes():
    """A size that is no whole number is one clear line."""
    assert SnapshotCache.chosen({"GREENROOM_CACHE_SIZE_MB": "5"}).limit_bytes == 5_000_000
    with pytest.raises(Misuse, match=r"GREENROOM_CACHE_SIZE_MB is '2 GB'; it must be a whole number of megabytes"):
        SnapshotCache.chosen({"GREENROOM_CACHE_SIZE_MB": "2 GB"})


def test_a_cache_that_is_no_folder_of_ours_is_refused(tmp_path):
    """A link that somebody else has put there leads nowhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(HarnessError, match="is not a folder of yours; set GREENROOM_CACHE_DIR to one that is"):
        keep(SnapshotCache(tmp_path / "cache", 1), "one")
