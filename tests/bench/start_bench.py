"""Start to ready of a throwaway homeserver, beside starting the same Synapse without Greenroom.

All are timed from the call to the first 200 on /versions. As a process: ours is `session.homeserver(...)` as a test
gets it, with its folder, secrets, configuration and the way to its peers; *plain* is one `Popen` of
`synapse.app.homeserver` with the same configuration, written beforehand, and a finished database. In a container: ours
is the first homeserver of a session, and then a further one in the same session; *bare docker run* is that command with
the same image and Synapse's command, with its configuration in a bind mount. Both bare ways look every 5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from greenroom.errors import HarnessError, Unavailable
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.container.engine import connect
from greenroom.homeserver.container.image import present_image
from greenroom.homeserver.settings import Secrets, free_port
from greenroom.homeserver.synapse import COMMAND, ENTRYPOINT, INSIDE, LOOPBACK, PORT, SYNAPSE, UID, config_files
from greenroom.session import Session
from tests.bench.plain_synapse import PlainSynapse, until_answered
from tests.bench.report import Report
from tests.bench.side_by_side import main, say, seconds_to_enter, take_turns

CONTAINERS = "homeserver in a container"


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Measure processes, then containers if this machine has them."""
    await measure_processes(report, options.rounds)
    try:
        image = image_here()
    except HarnessError as error:
        report.gap(CONTAINERS, str(error).splitlines()[0])
    else:
        await measure_containers(report, options.rounds, image)


async def measure_processes(report: Report, rounds: int) -> None:
    """Let a session's homeservers and plain starts take turns."""
    say("  homeservers as processes")
    session = Session.begin(backend="process")
    try:
        with PlainSynapse.prepared() as plain:
            ways = {
                "greenroom": lambda: seconds_to_enter(session.homeserver(HomeserverSettings())),
                "plain start": plain.start,
            }
            figures = report.timed(await take_turns(ways, rounds))
        report.target("process, start to ready", figures["greenroom"], figures["plain start"], at_most=0.15)
        first_s = session.first_start_s or 0.0
        report.notes.append(f"The first start of the session is not counted. It took {first_s:.2f} s.")
    finally:
        session.close()


def image_here() -> str:
    """Return the image that ours and the bare way run. Raises Unavailable without one, or without Docker."""
    if shutil.which("docker") is None:
        raise Unavailable(CONTAINERS, "there is no `docker` command to compare with", "install Docker")
    engine = connect()
    try:
        return present_image(engine, SYNAPSE)
    finally:
        engine.close()


async def measure_containers(report: Report, rounds: int, image: str) -> None:
    """Let sessions with two homeservers each and bare `docker run` take turns."""
    say(f"  homeservers in containers of {image}")
    found = await take_turns({"greenroom": two_in_containers, "bare docker run": lambda: docker_run(image)}, rounds)
    figures = report.timed(found)
    bare = figures["bare docker run"]
    report.target("container, first start to ready", figures["container, first"], bare, at_most=1.10)
    report.target("container, each further homeserver", figures["container, further"], bare, at_most=0.20)


async def two_in_containers() -> dict[str, float]:
    """Start two homeservers, one after the other, in a new session; return the seconds of each."""
    session = Session.begin(backend="container")
    try:
        async with session.homeserver(HomeserverSettings()):
            pass
        further_s = await seconds_to_enter(session.homeserver(HomeserverSettings()))
        assert session.first_start_s is not None
        return {"container, first": session.first_start_s, "container, further": further_s}
    finally:
        session.close()


async def docker_run(image: str) -> float:
    """Start a container with a bare `docker run`; return the seconds until it answered."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        port = free_port()
        command = docker_command(image, Path(folder), port)
        began = time.perf_counter()
        container = await run(command)
        try:
            await until_answered(port, began)
            return time.perf_counter() - began
        finally:
            await run(["docker", "rm", "--force", "--volumes", container])


async def run(command: list[str]) -> str:
    """Run a command, and return what it prints."""
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def docker_command(image: str, folder: Path, port: int) -> list[str]:
    """Write the configuration into a folder, and return the command that starts a container with it."""
    for name, content in config_files(HomeserverSettings(), Secrets.fresh()).items():
        (folder / name).write_bytes(content)
    user = (UID, UID) if os.getuid() == 0 else (os.getuid(), os.getgid())
    for path in (folder, *folder.iterdir()):
        os.chown(path, *user)
    command = ["docker", "run", "--detach", "--publish", f"{LOOPBACK}:{port}:{PORT}", "--volume", f"{folder}:{INSIDE}"]
    return [*command, "--user", f"{user[0]}:{user[1]}", "--entrypoint", ENTRYPOINT[0], image, *ENTRYPOINT[1:], *COMMAND]


if __name__ == "__main__":
    sys.exit(main("start", __doc__, measure, rounds=5))
