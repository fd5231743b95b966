"""The task `compose`: its options, and the actions on the containers of a stack that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenroom.commands.compose.files import Stack
from greenroom.commands.compose.parts import Parts, started_line
from greenroom.commands.compose.record import read_record
from greenroom.commands.compose.stack import down, project_name, up
from greenroom.commands.compose.status import status
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.options import parse_port
from greenroom.commands.dev.parts import parse_part
from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver.container.engine import Engine, connect
from greenroom.spelling import command

ACTIONS = ("up", "down", "status", "start", "stop", "restart")


@dataclass(frozen=True)
class ComposeOptions:
    """What a person asked of the task `compose`."""

    action: str
    part: str = ""  # with start, stop and restart: homeserver or bot; empty: all parts
    profiles: tuple[str, ...] = ()
    port: int = 8008
    seed: str = ""
    volumes: bool = False
    as_json: bool = False

    @classmethod
    def parse(cls, action: str, part: str, *, profiles: Sequence[str], port: str, **others: Any) -> ComposeOptions:
        """Return the options. Raises Misuse for an action or a part that does not exist."""
        if action not in ACTIONS:
            raise Misuse(f"compose needs one of {', '.join(ACTIONS)}, not {action!r}; try: {command('compose status')}")
        takes_part = action in ("start", "stop", "restart")
        if part and not takes_part:
            raise Misuse(f"compose {action} takes no part, so {part!r} cannot follow it")
        parse_part(part)
        return cls(action, part, tuple(profiles), parse_port(port) or 8008, **others)


def act(options: ComposeOptions) -> int:
    """Carry out the task `compose`. Return the exit code."""
    folder = DevFolder.find()
    if options.action == "up":
        return up(folder, port=options.port, profiles=options.profiles, seed=options.seed)
    if options.action == "down":
        return down(folder, volumes=options.volumes)
    if options.action == "status":
        stack = Stack(folder.root / "compose")
        return status(stack, project_name(folder.project), as_json=options.as_json)
    return switch(folder, options.action, options.part)


def switch(
    folder: DevFolder, action: str, part: str, *, console: Console | None = None, engine: Engine | None = None
) -> int:
    """Start, stop or restart the containers of a stack, or of one part. Return the exit code.

    It waits for each part that it starts. Raises HarnessError if the stack, or that part of it, has no container.
    """
    console = console or Console()
    record = read_record(folder.root / "compose") if action != "stop" else None  # to stop, no URL is needed
    engine = engine or connect()
    try:
        parts = Parts(engine, project_name(folder.project))
        services = [part] if part else list(parts.containers())
        if not parts.containers() or (record is None and action != "stop"):
            raise HarnessError(f"there is no stack in {folder.project}; try: {command('compose up')}")
        if action in ("stop", "restart"):
            for service in reversed(services):
                parts.stop(service)
                console.say(f"{service}: stopped")
        if record is not None and action in ("start", "restart"):
            asyncio.run(_start(parts, services, record.url, console))
    finally:
        engine.close()
    return 0


async def _start(parts: Parts, services: Sequence[str], url: str, console: Console) -> None:
    for service in services:
        parts.start(service)
        await parts.until_ready(service, url)
        console.say(started_line(service, url))
