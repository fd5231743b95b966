"""Identify processes for certain: a pid is reused, a pid together with its start time is not.

Linux reads `/proc`. Elsewhere `ps` answers, more slowly and with a start time of one-second resolution.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
HAS_PROC = (PROC / "self" / "stat").exists()


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of this machine, ever. `started` is opaque: two of them are equal or not, nothing else."""

    pid: int
    started: str

    def is_alive(self) -> bool:
        """Return whether this very process still runs. A zombie does not."""
        return started_at(self.pid) == self.started

    @property
    def tag(self) -> str:
        """The identity as a part of a file's name, `PID-STARTED`."""
        return f"{self.pid}-{self.started.replace('/', '.')}"

    @classmethod
    def of_tag(cls, text: str) -> ProcessIdentity | None:
        """Return the identity that `text` begins with, perhaps followed by `-` and more; None if it is no tag."""
        pid, _, rest = text.partition("-")
        return cls(int(pid), rest.partition("-")[0].replace(".", "/", 1)) if pid.isdigit() else None


def started_at(pid: int) -> str | None:
    """Return the opaque start time of a living process; None if there is no such process, or only a zombie."""
    if not HAS_PROC:
        return _started_by_ps(pid)
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the command is in brackets and may itself hold brackets and spaces; fields count on from the last ")".
    fields = stat[stat.rindex(")") + 2 :].split()
    state, threads, start_ticks = fields[0], int(fields[17]), fields[19]
    # While other threads of it still end, it holds its files and ports, though the first one is a zombie already.
    return None if state in "ZX" and threads <= 1 else f"{_boot_id()}/{start_ticks}"


def is_frozen(pid: int) -> bool:
    """Return whether a process is held by SIGSTOP."""
    if not HAS_PROC:
        answer = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return answer.stdout.strip().startswith("T")
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(")") + 2] == "T"


def identify(pid: int) -> ProcessIdentity:
    """Identify a living process. Raises ProcessLookupError if it has ended."""
    started = started_at(pid)
    if started is None:
        raise ProcessLookupError(pid)
    return ProcessIdentity(pid, started)


def myself() -> ProcessIdentity:
    """Identify this process."""
    return identify(os.getpid())


def pids_with_environment(marker: str) -> Iterator[int]:
    """Find this user's processes whose initial environment holds `marker` ("NAME=value").

    Children inherit the environment, so grandchildren that no manifest names are found. Without /proc none is found.
    """
    if not HAS_PROC:
        return
    wanted = marker.encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != os.getuid() or int(entry.name) == os.getpid():
                continue
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)
        except OSError:  # it ended meanwhile, or we may not read it
            continue


def terminate(identity: ProcessIdentity, *, grace_s: float = 10.0, group: bool = False) -> bool:
    """Stop a process that may not be our child: SIGTERM, wait, SIGKILL. Return whether it was running.

    With `group` everything in the process group that it leads is signalled, as `ManagedProcess` does.
    """
    if not identity.is_alive():
        return False
    _signal(identity, signal.SIGTERM, group)
    _signal(identity, signal.SIGCONT, group)  # a paused process would not see its SIGTERM
    if not _gone(identity, grace_s):
        _signal(identity, signal.SIGKILL, group)
        _gone(identity, 5.0)
    return True


def _gone(identity: ProcessIdentity, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while identity.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _signal(identity: ProcessIdentity, number: signal.Signals, group: bool) -> None:
    # Between this check and the signal the pid could in theory be reused; pidfd would close that, at Linux 5.3 and up.
    if not identity.is_alive():
        return
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(identity.pid, number)


def _boot_id() -> str:
    # Start times count from boot, so a manifest from before a reboot must not match.
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]


def _started_by_ps(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    if answer.returncode != 0 or not started or state.startswith("Z"):
        return None
    return f"{sys.platform}/{started.strip()}"
