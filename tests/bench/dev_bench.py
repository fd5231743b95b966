"""How soon `dev` has a live bot, beside starting the same Synapse plainly.

`dev` is run as a person runs it, in a project folder of its own, and timed from the start of the command to its line
`bot: live`. By then it has started Python, the homeserver and the bot, and the bot has logged in and synced. The
project is set up already: an earlier `dev` has seeded the blueprint `qa`. `dev --fresh` throws that away first.
*plain start* is one `Popen` of `synapse.app.homeserver` with everything prepared, to its first 200.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from greenroom.errors import HarnessError
from greenroom.processes.runs import HEAD, MARKER
from tests.bench.plain_synapse import PlainSynapse
from tests.bench.report import Report
from tests.bench.side_by_side import main, take_turns

LIVE = "bot: live"


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Set a project up, then let `dev`, `dev --fresh` and plain starts take turns."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder, PlainSynapse.prepared() as plain:
        project = Path(folder)
        (project / "pyproject.toml").touch()
        ways = {
            "dev": lambda: asyncio.to_thread(seconds_until_live, project),
            "dev --fresh": lambda: asyncio.to_thread(seconds_until_live, project, "--fresh"),
            "plain start": plain.start,
        }
        figures = report.timed(await take_turns(ways, options.rounds))
    bare = figures["plain start"]
    report.target("dev, set up already, to bot live", figures["dev"], bare, at_most=1.5)
    report.target("dev --fresh, to bot live", figures["dev --fresh"], bare, at_most=1.5)


def seconds_until_live(project: Path, *arguments: str) -> float:
    """Run `dev` until its bot is live, then stop it as Ctrl-C does; return the seconds until then."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "greenroom", "dev", "--backend", "process", *arguments],
        cwd=project,
        env=environment(project),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line.rstrip())
            if line.startswith(LIVE):
                return time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    raise HarnessError(f"dev ended before its bot was live: {said[-1] if said else 'without a word'}")


def environment(project: Path) -> dict[str, str]:
    """Return an environment in which this `dev` meets no other run of ours, and no settings of a bot."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MATRIX_")}
    return {**outer, MARKER: "", HEAD: "", "GREENROOM_RUNS_DIR": str(project / "runs")}


if __name__ == "__main__":
    sys.exit(main("dev", __doc__, measure, rounds=5))
