"""Start to ready of a homeserver container of ours beside bare `docker run` of the same image and command.

    python -m tests.bench.start_bench [--rounds 7]      (or: invoke bench start)

Both are timed from the call to the first 200 on /versions. They take turns, so that both meet the same load of the
machine. The bare one does as little as possible: `docker run --detach` with its configuration in a bind mount, and a
probe every 5 ms. Ours checks engine and image, copies the configuration, limits privileges and memory, follows the
log, and probes less often.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from greenroom.errors import HarnessError
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.container.engine import connect
from greenroom.homeserver.container.image import present_image
from greenroom.homeserver.container.start import ContainerHomeserver
from greenroom.homeserver.settings import Secrets, free_port
from greenroom.homeserver.synapse import COMMAND, ENTRYPOINT, INSIDE, PORT, SYNAPSE, UID, config_files
from greenroom.processes.runs import Run

TARGET = 1.10
ASK_EVERY_S = 0.005


async def ours(folder: Path) -> float:
    """Start a container as tests do; return the seconds until it answered."""
    homeserver = ContainerHomeserver(folder / "ours", kind=SYNAPSE, run=Run("bench"))
    began = time.perf_counter()
    server = await homeserver.start()
    took = time.perf_counter() - began
    await server.close()
    return took


def bare(folder: Path, image: str) -> float:
    """Start a container with a bare `docker run`; return the seconds until it answered."""
    mounted = folder / "bare"
    mounted.mkdir()
    for name, content in config_files(HomeserverSettings(), Secrets.fresh()).items():
        (mounted / name).write_bytes(content)
    user = (UID, UID) if os.getuid() == 0 else (os.getuid(), os.getgid())
    for path in (mounted, *mounted.iterdir()):
        os.chown(path, *user)
    port = free_port()
    command = ["docker", "run", "--detach", "--publish", f"127.0.0.1:{port}:{PORT}", "--volume", f"{mounted}:{INSIDE}"]
    command += ["--user", f"{user[0]}:{user[1]}", "--entrypoint", ENTRYPOINT[0], image, *ENTRYPOINT[1:], *COMMAND]
    began = time.perf_counter()
    container = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        while not answers(f"http://127.0.0.1:{port}/_matrix/client/versions"):
            if time.perf_counter() - began > 60:
                raise HarnessError("the bare container does not answer within 60 s")
            time.sleep(ASK_EVERY_S)
        return time.perf_counter() - began
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container], capture_output=True, check=False)


def answers(url: str) -> bool:
    """Return whether one request gets a 200."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:
        return response.status == 200
    return False


def measure(rounds: int, image: str) -> tuple[list[float], list[float]]:
    """Return the seconds of both. They take turns in going first; the first turn is not counted."""
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as temporary:
            folder = Path(temporary)
            works = [lambda f=folder: asyncio.run(ours(f)), lambda f=folder: bare(f, image)]
            for which in (0, 1) if turn % 2 else (1, 0):
                took = works[which]()
                if turn:
                    found[which].append(took)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return exit code 0 if the target is met, 1 if not, 3 if nothing could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    if shutil.which("docker") is None:
        print("start: not measured, no `docker` command to compare with")
        return 3
    try:
        engine = connect()
        image = present_image(engine, SYNAPSE)
        engine.close()
        mine, theirs = measure(options.rounds, image)
    except HarnessError as error:
        print(f"start: not measured, {error}")
        return 3
    print(f"start to ready, image {image}, {options.rounds} rounds, seconds")
    for name, each in (("greenroom container", mine), ("bare docker run", theirs)):
        print(f"  {name:<20} median {statistics.median(each):.2f}   min {min(each):.2f}   max {max(each):.2f}")
    ratio = statistics.median(mine) / statistics.median(theirs)
    print(f"  ratio {ratio:.2f}x, target at most {TARGET:.2f}x: {'met' if ratio <= TARGET else 'MISSED'}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
