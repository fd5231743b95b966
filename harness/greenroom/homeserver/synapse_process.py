"""Synapse from PyPI as a process of its own: a real homeserver where there is no Docker."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenroom.errors import StartFailed, Unavailable
from greenroom.homeserver.interface import Backend, Capability, ProcessHomeserver, Registration
from greenroom.homeserver.ready import wait_until_ready
from greenroom.homeserver.settings import (
    PORT_TRIES,
    SECRETS_FILE,
    HomeserverSettings,
    Secrets,
    check_port_free,
    copy_whole,
    free_port,
)
from greenroom.homeserver.sqlite import copy_database
from greenroom.homeserver.supervised import SupervisedHomeserver
from greenroom.homeserver.synapse_config import CONFIG_FILE, DATABASE_FILE, MEDIA_FOLDER, MISSING, lacks, write_config
from greenroom.homeserver.warm.client import Connection, NotWarm, begun_ahead, connect
from greenroom.homeserver.warm.template import made_here, prepared_database
from greenroom.processes.process import Command, ManagedProcess
from greenroom.processes.runs import Head
from greenroom.spelling import command

LISTENING = re.compile(r"Synapse now listening on TCP port (\d+)")
IN_USE = "Address already in use"
START_TIMEOUT_S = 60.0
REQUIREMENT = "matrix-synapse>=1.150"  # of our extra `embedded`, whose own name works only where we are published
INSTALL = f"{sys.executable} -m pip install '{REQUIREMENT}'"


class SynapseProcess(ProcessHomeserver):
    """A Synapse that will run as a child process."""

    federates = True

    def __init__(
        self, folder: Path, *arguments: Any, choose_port: Callable[[], int] = free_port, **options: Any
    ) -> None:
        super().__init__(folder, *arguments, **options)
        self._choose_port = choose_port

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version("matrix-synapse")

    @classmethod
    def check_installed(cls) -> None:
        """Raise Unavailable unless Synapse can be run from this environment (without importing it)."""
        if importlib.util.find_spec("synapse") is None:
            raise Unavailable("Synapse as a process", "matrix-synapse is not installed", INSTALL)

    @classmethod
    def begun_ahead(cls) -> AbstractContextManager[None]:
        return begun_ahead()

    async def start(self) -> RunningSynapseProcess:
        """Write the configuration, start Synapse and wait for its first answer."""
        self.check_installed()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secrets = Secrets.kept_in(self.folder / SECRETS_FILE)
        process = ManagedProcess(self._command(), run=self._run)
        server = RunningSynapseProcess(self.folder, self.settings, secrets, process, self._choose_port, self._run.head)
        await server.start_again()
        return server

    def _command(self) -> Command:
        config = str(self.folder / CONFIG_FILE)
        # PYTHONDONTWRITEBYTECODE would make every start compile Synapse anew: three times slower.
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
        return Command(
            name="homeserver",
            argv=[sys.executable, "-m", "synapse.app.homeserver", "--config-path", config],
            cwd=self.folder,
            env={**kept, "PYTHONUNBUFFERED": "1"},
            log_path=self.log_path,
            dies_with_parent=self._dies_with_parent,
            lock=self.folder / "lock",
        )


class RunningSynapseProcess(SupervisedHomeserver):
    """A Synapse process that has answered at least once."""

    kind = "synapse"
    backend = Backend.PROCESS
    missing = MISSING

    def __init__(
        self,
        folder: Path,
        settings: HomeserverSettings,
        secrets: Secrets,
        process: ManagedProcess,
        choose_port: Callable[[], int],
        head: Head | None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.server_name = settings.server_name
        self.missing = {**self.missing, **lacks(settings)}
        self.registration = Registration(Capability.SHARED_SECRET_REGISTRATION, secrets.registration_shared_secret)
        self.log_path = process.command.log_path
        self.url = ""
        self._secrets = secrets
        self._process = process
        self._choose_port = choose_port
        self._head = head

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        return self._process.pid

    @property
    def handle(self) -> Mapping[str, Any]:
        return {"pid": self.pid}

    async def close(self) -> None:
        await self._process.stop(timeout_s=5.0)

    async def copy_data(self, folder: Path) -> None:
        self.require(Capability.SNAPSHOT)
        await asyncio.to_thread(self._copy_data, folder)

    def _copy_data(self, folder: Path) -> None:
        copy_database(self.folder / DATABASE_FILE, folder / DATABASE_FILE)
        if (media := self.folder / MEDIA_FOLDER).exists():
            shutil.copytree(media, folder / MEDIA_FOLDER)
        self._secrets.write(folder / SECRETS_FILE)

    async def start_again(self) -> None:
        """Start on the port of the first start, so that the URL stays: by the warm parent, or plainly without one."""
        if self.settings.port:
            check_port_free(self.settings.port)
        if not (self.folder / DATABASE_FILE).exists() and (template := await prepared_database(made_here(self._head))):
            copy_whole(template, self.folder / DATABASE_FILE)
        try:
            connection = await connect(self._head)
        except NotWarm as reason:
            self.slow_because = str(reason)
            await self._start_plainly()
        else:
            await self._start_on(self.settings.port, connection)

    async def _start_plainly(self) -> None:
        """Start on a port that was free a moment ago. If another program has taken it since, try another port."""
        if self.settings.port:
            await self._start_on(self.settings.port)
            return
        for attempt in range(PORT_TRIES):
            try:
                await self._start_on(self._choose_port())
                return
            except StartFailed:
                if attempt == PORT_TRIES - 1 or IN_USE not in self._process.log_text():
                    raise

    async def _start_on(self, port: int, warm: Connection | None = None) -> None:
        """Start on a port; with a warm parent 0 is one that the server takes itself."""
        try:
            async with self._starting(self.name):
                write_config(self.folder, self.settings, self._secrets, port)
                self._process.spawn(warm.fork if warm else None)
                self.url = await wait_until_ready(self._find_url, self._process.check_alive, START_TIMEOUT_S)
        except BaseException:
            if warm:
                warm.close()
            raise
        self.settings = replace(self.settings, port=int(self.url.rpartition(":")[2]))

    def _hint(self, log: str) -> str:
        return hint(log)

    def _find_url(self) -> str | None:
        listening = LISTENING.search(self._process.log_text())
        return f"http://127.0.0.1:{listening[1]}" if listening else None


def hint(text: str) -> str:
    """Return what to try after a start that failed with this log; empty if nothing is known to help."""
    if IN_USE in text:
        return "another --port, or none for a free one"
    if "file is not a database" in text or "database disk image is malformed" in text:
        return f"its data is damaged; to start over: {command('dev --fresh')}"
    if "disk is full" in text or "No space left on device" in text:
        return "free some space on that disk"
    if "Error in configuration" in text:
        return "look at the settings passed as `extra`; Synapse names the one it refuses above"
    return ""
