"""The parts of a stack: their containers as the engine sees them, and the wait until one does its work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from greenroom.bot_process import OUR_READY_LINE
from greenroom.commands.compose.files import BOT_USER
from greenroom.commands.dev.console import duration
from greenroom.commands.dev.parts import BOT, HOMESERVER
from greenroom.errors import HarnessError, NotMet, StartFailed
from greenroom.homeserver.container.engine import Engine, asking
from greenroom.homeserver.container.log import started_at, tail
from greenroom.homeserver.ready import wait_until_ready
from greenroom.spelling import command
from greenroom.waiting import until

POSTGRES, WEB = "postgres", "web"
ORDER = (POSTGRES, HOMESERVER, BOT, WEB)  # each needs those before it
READY_TIMEOUT_S = 120.0
POLL_S = 0.5
SERVICE = "com.docker.compose.service"
PROJECT = "com.docker.compose.project"


@dataclass(frozen=True)
class Part:
    """One part at one moment. `state` is the engine's word: running, restarting, exited, …"""

    service: str
    container: str
    state: str
    health: str  # healthy, unhealthy, starting; empty: the image has no check
    exit_code: int
    started_at: str  # ISO 8601, of the latest start

    @property
    def runs(self) -> bool:
        """Return whether the container runs. One that the engine starts again and again does not."""
        return self.state == "running"

    def uptime_s(self, now: float) -> float:
        """Return how long it has been running; 0 if it does not."""
        return max(0.0, now - datetime.fromisoformat(self.started_at).timestamp()) if self.runs else 0.0

    def words(self, now: float) -> str:
        """Return its state for a person."""
        if not self.runs:
            return f"{self.state}, exit code {self.exit_code}"
        health = f", {self.health}" if self.health not in ("", "starting") else ""  # it was not judged yet
        return f"running{health}, up {duration(self.uptime_s(now))}"


class Parts:
    """All parts of one stack. `name` is its compose project."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def containers(self) -> dict[str, Any]:
        """Return the container of each service, in the order in which they start."""
        client = self._engine.client
        labels = {"label": [f"{PROJECT}={self._name}"]}
        found = asking(
            "listing containers", lambda: client.containers.list(all=True, filters=labels, ignore_removed=True)
        )
        by_service = {each.labels.get(SERVICE, ""): each for each in found}
        return {service: by_service[service] for service in ORDER if service in by_service}

    def now(self) -> list[Part]:
        """Return what the engine says about each part."""
        return [_part(service, container) for service, container in self.containers().items()]

    def start(self, service: str) -> None:
        """Start a part's container, if it does not run."""
        asking(f"starting the {service}", self._container(service).start)

    def stop(self, service: str) -> None:
        """Stop a part's container, if it runs. The engine kills it after 10 s."""
        asking(f"stopping the {service}", self._container(service).stop)

    def remove(self, *, volumes: bool) -> int:
        """Remove the containers and the network, and with `volumes` the volumes too. Return how many containers."""
        client, labels = self._engine.client, {"label": [f"{PROJECT}={self._name}"]}
        containers = self.containers()
        for service, container in containers.items():
            asking(f"removing the {service}", partial(container.remove, force=True))
        for kind in (client.networks, *([client.volumes] if volumes else [])):
            for each in asking("listing networks and volumes", partial(kind.list, filters=labels)):
                asking(f"removing {each.name}", each.remove)
        return len(containers)

    async def until_ready(self, service: str, url: str) -> None:
        """Wait until a part does its work. `url` is the homeserver's. Raises StartFailed, with the last log lines."""
        if service == HOMESERVER:
            try:
                await wait_until_ready(lambda: url, lambda: self.alive(HOMESERVER), READY_TIMEOUT_S)
            except TimeoutError as error:
                raise self._failed(HOMESERVER, str(error)) from None
        elif service == POSTGRES:
            await self._until(POSTGRES, _is_healthy)
        elif service == BOT:
            await self._until(BOT, _is_live)

    async def _until(self, service: str, reached: Callable[[Any], bool]) -> None:
        def ready() -> bool:
            return reached(self.alive(service))

        try:
            await until(ready, service, timeout_s=READY_TIMEOUT_S, every_s=POLL_S)
        except NotMet as error:
            raise self._failed(service, f"not ready within {error.waited_s:.0f} s") from None

    def alive(self, service: str) -> Any:
        """Return the container of a part. Raises StartFailed if it has ended."""
        container = self._container(service)
        state: dict[str, Any] = container.attrs["State"]
        if state.get("Status") in ("exited", "dead") or state.get("Restarting"):
            raise self._failed(service, f"ended with exit code {state.get('ExitCode')}")
        return container

    def _container(self, service: str) -> Any:
        found = self.containers().get(service)
        if found is None:
            raise HarnessError(f"the {service} of this stack has no container; try: {command('compose up')}")
        return found

    def _failed(self, service: str, problem: str) -> StartFailed:
        lines: list[str] = []
        with suppress(HarnessError):
            lines = tail(self._container(service), 15)
        return StartFailed(service, problem, tail=lines, hint=command("compose down"))


def started_line(service: str, url: str) -> str:
    """Return the line that says that a part does its work."""
    return {HOMESERVER: f"homeserver: ready at {url}", BOT: f"bot: live, {BOT_USER}"}.get(
        service, f"{service}: started"
    )


def _part(service: str, container: Any) -> Part:
    state: dict[str, Any] = container.attrs["State"]
    health = str((state.get("Health") or {}).get("Status", ""))
    code = int(state.get("ExitCode") or 0)
    return Part(service, str(container.name), str(state.get("Status")), health, code, str(state.get("StartedAt")))


def _is_healthy(container: Any) -> bool:
    return bool((container.attrs["State"].get("Health") or {}).get("Status") == "healthy")


def _is_live(container: Any) -> bool:
    logs = asking("reading the bot's log", lambda: container.logs(since=started_at(container)))
    return OUR_READY_LINE in logs.decode(errors="replace")
