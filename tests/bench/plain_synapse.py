"""Synapse started plainly, as a person would who has thought about it: what our starts are measured beside.

Configuration, keys and a finished database are prepared beforehand, the same configuration that ours has. A start is
then one `Popen` of `python -m synapse.app.homeserver`, and a look at its port every 5 ms.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from greenroom.errors import HarnessError
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.ready import answers
from greenroom.homeserver.settings import LOOPBACK, Secrets, free_port
from greenroom.homeserver.synapse_config import (
    CONFIG_FILE,
    DATABASE_FILE,
    LOG_CONFIG_FILE,
    SIGNING_KEY_FILE,
    as_yaml,
    log_config,
    synapse_config,
)

ASK_EVERY_S = 0.005
TIMEOUT_S = 120.0
TEMPLATE = "template"


@dataclass(frozen=True)
class PlainSynapse:
    """A database to begin with, and a place for the folders of its starts."""

    folder: Path

    @classmethod
    @contextmanager
    def prepared(cls) -> Iterator[PlainSynapse]:
        """Make the database once, with all of its background updates done. Everything is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
            plain = cls(Path(folder))
            config, _ = plain._configured(TEMPLATE)
            command = [sys.executable, "-m", "synapse._scripts.update_synapse_database"]
            command += ["--database-config", str(config), "--run-background-updates"]
            made = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
            if made.returncode:
                raise HarnessError(f"no database to begin with: {made.stderr.strip().splitlines()[-1]}")
            yield plain

    async def start(self) -> float:
        """Start one, stop it, and return the seconds until it answered."""
        return await self.start_at_once(1)

    async def start_at_once(self, count: int) -> float:
        """Start several at the same moment, stop them, and return the seconds until the last of them answered."""
        servers = [self._configured(f"server-{number}", DATABASE_FILE) for number in range(count)]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            began = time.perf_counter()
            processes += [started(config) for config, _ in servers]
            await asyncio.gather(*(until_answered(port, began) for _, port in servers))
            return time.perf_counter() - began
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
            for config, _ in servers:
                shutil.rmtree(config.parent)

    def _configured(self, name: str, database: str = "") -> tuple[Path, int]:
        """Make a folder with all that a start reads; return the configuration's path and the port in it."""
        folder, secrets, port = self.folder / name, Secrets.fresh(), free_port()
        folder.mkdir()
        config = synapse_config(HomeserverSettings(), secrets, folder=str(folder), port=port)
        (folder / CONFIG_FILE).write_text(as_yaml(config))
        (folder / LOG_CONFIG_FILE).write_text(as_yaml(log_config(HomeserverSettings().log_level)))
        (folder / SIGNING_KEY_FILE).write_text(secrets.signing_key + "\n")
        if database:
            shutil.copy(self.folder / TEMPLATE / database, folder)
        return folder / CONFIG_FILE, port


def started(config: Path) -> subprocess.Popen[bytes]:
    """Start Synapse with its log in a file."""
    command = [sys.executable, "-m", "synapse.app.homeserver", "--config-path", str(config)]
    with (config.parent / "homeserver.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())


def environment() -> dict[str, str]:
    """Return the environment, but let Python keep what it compiles: otherwise a start takes three times as long."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


async def until_answered(port: int, began: float) -> None:
    """Wait for the first 200 on /versions. A look at a port where nobody listens costs next to nothing."""
    while not (_is_open(port) and await answers(f"http://{LOOPBACK}:{port}") is None):
        if time.perf_counter() - began > TIMEOUT_S:
            raise HarnessError(f"a plainly started server does not answer within {TIMEOUT_S:g} s")
        await asyncio.sleep(ASK_EVERY_S)


def _is_open(port: int) -> bool:
    with socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
