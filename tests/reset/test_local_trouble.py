"""Local resets on odd ground: mounts, directories without permission, strange files and names, a full disk."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from greenroom_reset import local
from greenroom_reset.errors import Refused
from greenroom_reset.local import Paths, mount_points
from tests.reset.conftest import BOT, LOCAL, refuses, tree

STRANGER = 54321
"""A user id that owns nothing."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
mounting = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="only a privileged root can mount",
)


def run(environ: dict[str, str], *before: str, cwd: Path | None = None, **changed: str) -> tuple[int, str, str]:
    """Run a local reset as a process, and return exit code, stdout and stderr. It ends by itself within ten seconds."""
    ran = subprocess.run(
        [*before, sys.executable, "-m", "greenroom_reset", "--yes"],
        env={**os.environ, **environ, **changed},
        cwd=cwd,
        capture_output=True,
        timeout=10,
        check=False,
    )
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def is_refused(environ: dict[str, str], says: str, *before: str, cwd: Path | None = None, **changed: str) -> None:
    """Assert that a reset process is refused with one line."""
    code, out, err = run(environ, *before, cwd=cwd, **changed)
    assert says in err
    assert (code, out, len(err.splitlines())) == (2, "", 1), err


# Mounts


@pytest.mark.parametrize("where", ["bot.db", "bot.db-wal", "store", "store/session.json"])
def test_a_mount_point_is_refused_before_anything_is_deleted(environ, bot_state, where):
    """Files too can be mount points. They cannot be deleted, and what is mounted may be in use elsewhere."""
    (bot_state / "bot.db-wal").touch()

    with pytest.raises(Refused, match=f"{where} is a mount point.+Nothing was changed. Mount a directory above it"):
        local.survey(Paths.from_environ(environ), mounts={str(bot_state / where)})


@mounting
@pytest.mark.parametrize("where", ["bot.db", "store"])
def test_a_bind_mount_is_seen(environ, bot_state, where):
    """A bind mount on the same file system is seen too, where `os.path.ismount` says no."""
    before, other = tree(bot_state), bot_state.with_name("other")
    shutil.copytree(bot_state, other)
    mount = f'mount --bind "{other / where}" "{bot_state / where}" && exec "$@"'

    is_refused(environ, "is a mount point", "unshare", "--mount", "sh", "-c", mount, "sh")

    assert tree(bot_state) == tree(other) == before


def test_the_kernels_table_of_mounts_is_read_as_written(tmp_path):
    """The kernel writes spaces and newlines as octal numbers. Without a table nothing counts as mounted."""
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"36 35 98:0 / /srv/a\\040b\\012c\\134d rw,noatime - ext3 /dev/root rw\n"
        b"37 35 98:0 /x\\040y /srv/\xff rw - ext3 /dev/root rw\n"
    )

    assert mount_points(table) == {"/srv/a b\nc\\d", "/srv/\udcff"}
    assert mount_points(tmp_path / "absent") == frozenset()
    assert "/proc" in mount_points()


# Permissions


@contextmanager
def as_a_stranger() -> Iterator[None]:
    """Be another user for a `with`."""
    try:
        os.setegid(STRANGER)
        os.seteuid(STRANGER)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def in_the_open(bot_state) -> Iterator[dict[str, str]]:
    """A copy of the bot's state in a folder that other users can reach. Returns the settings."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(bot_state, Path(folder, "bot"))
        for path in Path(folder).rglob("*"):
            path.chmod(0o755)
        yield {"MATRIX_DB_PATH": f"{folder}/bot/bot.db", "MATRIX_STORE_PATH": f"{folder}/bot/store"}


@as_root
@pytest.mark.parametrize("where", [".", "store"])
async def test_who_may_not_delete_all_of_it_deletes_nothing(in_the_open, shown, where):
    """A directory of another user is refused before anything is deleted; the message names it and its owner."""
    bot_state = Path(in_the_open["MATRIX_DB_PATH"]).parent
    for folder in {bot_state, bot_state / "store"} - {bot_state / where}:
        os.chown(folder, STRANGER, STRANGER)
    before = tree(bot_state)

    with (
        as_a_stranger(),
        pytest.raises(Refused, match=r"this user may not write to .+ owner .+uid 0") as refused,
    ):
        await shown.reset(in_the_open, LOCAL, yes=True)

    assert f"write to {bot_state / where}. Nothing was changed" in str(refused.value)
    assert tree(bot_state) == before


@as_root
@pytest.mark.parametrize(
    ("where", "mode", "says"),
    [
        ("bot.db", 0o600, "cannot look at the bot's state: .+/bot.db: Permission denied"),
        ("store/session.json", 0o600, "cannot look at the bot's state: .+/session.json: Permission denied"),
        ("store", 0o700, "cannot look at the bot's state: .+/store.*: Permission denied"),
        (".", 0o711, "cannot look for another reset at work in .+/bot: Permission denied"),
    ],
)
async def test_what_may_not_be_read_is_one_line(in_the_open, shown, where, mode, says):
    """A file or directory that this user cannot read is refused with its name and the reason."""
    bot_state = Path(in_the_open["MATRIX_DB_PATH"]).parent
    before = tree(bot_state)
    (bot_state / where).chmod(mode)

    with as_a_stranger(), pytest.raises(Refused, match=says):
        await shown.reset(in_the_open, LOCAL, yes=True)

    assert tree(bot_state) == before


@mounting
def test_a_read_only_file_system_is_refused_before_anything_is_deleted(environ, bot_state):
    """On a file system that is mounted read-only nothing can be deleted, by root neither."""
    before = tree(bot_state)
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'

    is_refused(environ, f"may not write to {bot_state}", "unshare", "--mount", "sh", "-c", mount, str(bot_state))

    assert tree(bot_state) == before


# Strange files and names


@pytest.mark.parametrize("where", ["bot.db", "store/session.json", f"store/{BOT}_D.db", "store"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_or_a_socket_is_refused_and_not_read(environ, bot_state, where, kind):
    """Reading a pipe would take for ever, so the file's type is asked first."""
    path = bot_state / where
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        os.mkfifo(path) if kind == "pipe" else bind(listening, path)

        is_refused(environ, "Nothing was changed. Move it away by hand and run this again")

    assert path.exists()


def bind(listening: socket.socket, path: Path) -> None:
    """Bind to a path that may be longer than the name of a socket can be."""
    folder = os.open(path.parent, os.O_PATH)
    listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def test_names_with_newlines_and_without_an_encoding_stay_on_one_line(environ, bot_state):
    """Whatever bytes are in a name, each line stays one line, in plan, summary and refusal."""
    odd = bot_state.with_name("a\nNote: b\udcff\x1b[2J")
    bot_state.rename(odd)
    moved = {**environ, "MATRIX_DB_PATH": f"{odd}/bot.db", "MATRIX_STORE_PATH": f"{odd}/store"}
    (odd / "store" / "x\ny\udcff").touch()
    is_refused(moved, "more than a bot's store: x\N{REPLACEMENT CHARACTER}y\N{REPLACEMENT CHARACTER}.")

    (odd / "store" / "x\ny\udcff").unlink()
    code, out, err = run(moved)

    assert (code, err, tree(odd)) == (0, "", {})
    assert out.count("a\N{REPLACEMENT CHARACTER}Note: b\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J") == 2 * 7


def test_a_working_directory_that_is_gone(environ, bot_state, tmp_path):
    """Without a working directory absolute paths still work, and relative ones are refused."""
    gone = tmp_path / "gone"
    gone.mkdir()
    vanish = ("sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh")

    is_refused(
        environ, "bot.db is relative, and the working directory is gone", *vanish, cwd=gone, MATRIX_DB_PATH="bot.db"
    )
    gone.mkdir()
    code, _, err = run(environ, *vanish, cwd=gone)

    assert (code, err, tree(bot_state)) == (0, "", {})


def test_a_user_without_a_home_has_no_home_to_protect(environ, bot_state, monkeypatch):
    """In a container the user may be unknown; then there is no home directory."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)

    assert len(local.survey(Paths.from_environ(environ))) == 1 + 5 + 1


# A full disk


def test_a_clean_database_needs_no_room_and_a_log_says_what_it_needs(environ, bot_state, monkeypatch):
    """A clean database is read where it is; one with a log only from a copy, and without room the message says so."""
    monkeypatch.setattr("greenroom_reset.database.TemporaryDirectory", no_room)
    assert local.survey(Paths.from_environ(environ))

    (bot_state / "bot.db-wal").write_bytes(b"log")
    refuses(
        environ, "bot.db can be read only from a copy.+No usable temporary directory.+TMPDIR to a directory that has"
    )


def no_room(prefix: str) -> None:
    raise FileNotFoundError(2, "No usable temporary directory found")
