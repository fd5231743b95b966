"""Whether somebody listens on a port, and who does. Linux only for the second: elsewhere nobody is found."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from greenroom.processes.procfs import PROC
from greenroom.processes.runs import MARKER

OF_THIS_RUN = "another process of this test run"
LISTENS = "0A"  # proc(5), net/tcp: the state TCP_LISTEN


async def refusal(host: str, port: int, timeout_s: float = 2.0) -> Exception | None:
    """Return why a port accepts no connection; None if it accepts one, which is closed at once."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        return error
    writer.close()
    return None


def listener(port: int) -> int | None:
    """Return the pid of this user's process that listens on a TCP port; None if there is none, or none to be seen."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not sockets:
        return None
    for entry in PROC.iterdir():
        if entry.name.isdigit() and sockets & set(_open_files(entry)):
            return int(entry.name)
    return None


def holder(port: int, run_id: str) -> str:
    """Return in words who listens on a port, and whether that is a process of this run; "" if nobody is found."""
    pid = listener(port)
    if pid is None:
        return ""
    if run_id and _has_in_environment(pid, f"{MARKER}={run_id}"):
        return f"{OF_THIS_RUN} (process {pid})"
    return f"another program (process {pid})"


def _has_in_environment(pid: int, marker: str) -> bool:
    try:
        return marker.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _open_files(process: Path) -> Iterator[str]:
    try:
        for descriptor in (process / "fd").iterdir():
            try:
                yield os.readlink(descriptor)
            except OSError:  # closed meanwhile
                continue
    except OSError:  # it ended meanwhile, or belongs to another user
        return
