"""Synapse from PyPI as a process of its own: a real homeserver where there is no Docker."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenroom.errors import Died, PortTaken, StartFailed, Unavailable
from greenroom.homeserver.interface import Backend, Capability, Homeserver, Kind, RunningHomeserver
from greenroom.homeserver.ready import wait_until_ready
from greenroom.homeserver.settings import PORT_TRIES, HomeserverSettings, Secrets, free_port
from greenroom.homeserver.synapse_config import (
    CONFIG_FILE,
    LOG_CONFIG_FILE,
    SIGNING_KEY_FILE,
    as_yaml,
    log_config,
    synapse_config,
)
from greenroom.processes.process import Command, ManagedProcess, OnSpawn
from greenroom.waiting import scaled

LISTENING = re.compile(r"Synapse now listening on TCP port (\d+)")
IN_USE = "Address already in use"
START_TIMEOUT_S = 60.0
CAPABILITIES = frozenset(Capability) - {Capability.REGISTRATION_TOKEN}  # the shared secret does it in one step


class SynapseProcess(Homeserver):
    """A Synapse that is to run as a child process, with all its state in `folder` (made, and reused if it is there)."""

    kind = Kind.SYNAPSE
    backend = Backend.PROCESS
    capabilities = CAPABILITIES

    def __init__(
        self,
        folder: Path,
        settings: HomeserverSettings | None = None,
        *,
        log_path: Path | None = None,
        marker: Mapping[str, str] | None = None,
        on_spawn: OnSpawn | None = None,
        dies_with_parent: bool = True,
        choose_port: Callable[[], int] = free_port,
    ) -> None:
        self.folder = folder
        self.settings = settings or HomeserverSettings()
        self.log_path = log_path or folder / "homeserver.log"
        self._marker = dict(marker or {})
        self._on_spawn = on_spawn
        self._dies_with_parent = dies_with_parent
        self._choose_port = choose_port

    async def start(self) -> RunningSynapseProcess:
        """Write the configuration, start Synapse and wait for its first answer."""
        check_installed()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secrets = Secrets.kept_in(self.folder / "secrets.json")
        process = ManagedProcess(self._command(), on_spawn=self._on_spawn)
        server = RunningSynapseProcess(self.folder, self.settings, secrets, process, self._choose_port)
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
            env={**kept, **self._marker, "PYTHONUNBUFFERED": "1"},
            log_path=self.log_path,
            dies_with_parent=self._dies_with_parent,
        )


class RunningSynapseProcess(RunningHomeserver):
    """A Synapse process that has answered at least once."""

    kind = Kind.SYNAPSE
    backend = Backend.PROCESS
    capabilities = CAPABILITIES

    def __init__(
        self,
        folder: Path,
        settings: HomeserverSettings,
        secrets: Secrets,
        process: ManagedProcess,
        choose_port: Callable[[], int],
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.server_name = settings.server_name
        self.registration_shared_secret = secrets.registration_shared_secret
        self.log_path = process.command.log_path
        self.url = ""
        self._secrets = secrets
        self._process = process
        self._choose_port = choose_port

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        return self._process.pid

    def describe(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "server_name": self.server_name,
            "kind": str(self.kind),
            "backend": str(self.backend),
            "log": str(self.log_path),
            "pid": self.pid,
        }

    def check_alive(self) -> None:
        self._process.check_alive()

    def log_tail(self, lines: int = 15) -> list[str]:
        return self._process.tail(lines)

    async def stop(self) -> None:
        await self._process.stop()

    async def kill(self) -> None:
        await self._process.kill()

    async def pause(self) -> None:
        self._process.pause()

    async def resume(self) -> None:
        self._process.resume()

    async def close(self) -> None:
        await self._process.stop(timeout_s=5.0)

    async def start_again(self) -> None:
        """Start; the port of the first start is taken again, so that the URL stays."""
        if self.settings.port:
            check_port_free(self.settings.port)
            await self._start_on(self.settings.port)
        else:
            await self._start_on_a_free_port()

    async def _start_on_a_free_port(self) -> None:
        """Let Synapse itself bind the port: one that somebody took since it was chosen means another try."""
        for attempt in range(PORT_TRIES):
            try:
                await self._start_on(self._choose_port())
                return
            except StartFailed:
                if attempt == PORT_TRIES - 1 or IN_USE not in self._process.log_text():
                    raise

    async def _start_on(self, port: int) -> None:
        self._write_config(port)
        self._process.spawn()
        timeout_s = scaled(START_TIMEOUT_S)
        try:
            self.url = await wait_until_ready(self._find_url, self._process.check_alive, timeout_s)
        except Died as died:
            hint = _hint(self._process.log_text())  # what explains a long traceback is above its last lines
            raise StartFailed(self.name, died.status, log_path=self.log_path, tail=died.tail, hint=hint) from None
        except TimeoutError as late:
            problem = f"not ready after {timeout_s:g} s: {late}"
            tail = self.log_tail()
            await self._process.kill()
            raise StartFailed(self.name, problem, log_path=self.log_path, tail=tail) from None
        except BaseException:  # cancelled by Ctrl-C or a timeout of the caller: nothing may be left running
            self._process.kill_now()
            raise
        self.settings = replace(self.settings, port=port)

    def _find_url(self) -> str | None:
        listening = LISTENING.search(self._process.log_text())
        return f"http://127.0.0.1:{listening[1]}" if listening else None

    def _write_config(self, port: int) -> None:
        config = synapse_config(self.settings, self._secrets, folder=str(self.folder), port=port)
        _write_private(self.folder / CONFIG_FILE, as_yaml(config))
        _write_private(self.folder / LOG_CONFIG_FILE, as_yaml(log_config(self.settings.log_level)))
        _write_private(self.folder / SIGNING_KEY_FILE, self._secrets.signing_key + "\n")


def check_installed() -> None:
    """Raise Unavailable unless Synapse can be run from this environment (without importing it)."""
    if importlib.util.find_spec("synapse") is None:
        raise Unavailable(
            "Synapse as a process", "matrix-synapse is not installed", "pip install 'matrix-greenroom[embedded]'"
        )


def check_port_free(port: int) -> None:
    """Raise PortTaken if something listens on that port; a later taker is caught by Synapse's own start."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise StartFailed("homeserver", f"port {port} may not be used: {error.strerror}") from None
        except OSError:
            raise PortTaken("homeserver", port) from None


def _hint(text: str) -> str:
    if IN_USE in text:
        return "another --port, or none for a free one"
    if "Error in configuration" in text:
        return "look at the settings passed as `extra`; Synapse names the one it refuses above"
    return ""


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
