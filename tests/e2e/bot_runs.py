"""The reference bot as a command: one run to its end, its lines for a person, and its processor time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from greenroom.waiting import scaled


async def run_bot(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m greenroom_bot` to its end. Of the `MATRIX_*` variables it gets those in `env` only."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MATRIX_")}
    argv = [sys.executable, "-m", "greenroom_bot", *args]
    return await asyncio.to_thread(
        subprocess.run, argv, env={**clean, **env}, capture_output=True, text=True, timeout=scaled(60), check=False
    )


def matrix_variables(env: dict[str, str]) -> dict[str, str]:
    """Return the `MATRIX_*` variables of an environment."""
    return {name: value for name, value in env.items() if name.startswith("MATRIX_")}


def lines_for_a_person(log: str) -> list[str]:
    """Return the lines of a log that are not structured."""
    return [line for line in log.splitlines() if not line.startswith("{")]


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used so far (fields 14 and 15 of its stat)."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
