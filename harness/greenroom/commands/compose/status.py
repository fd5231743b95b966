"""`compose status`: where the stack is, what of it runs and since when, and who can log in."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from greenroom.commands.compose.files import BOT_USER, VARIABLES_FILE, Stack
from greenroom.commands.compose.parts import Part, Parts
from greenroom.commands.compose.record import Record, read_record
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.parts import BOT, HOMESERVER
from greenroom.errors import CannotTell, HarnessError, Unavailable
from greenroom.homeserver.container.engine import connect
from greenroom.homeserver.settings import SERVER_NAME
from greenroom.spelling import command

RUNNING, PARTLY, NOTHING = 0, 1, 3  # exit codes; 3 is also for what cannot be told
NEEDED = {HOMESERVER, BOT}


def status(stack: Stack, name: str, *, as_json: bool = False, console: Console | None = None) -> int:
    """Print the state of a stack, or a JSON document. Return 0 if it runs, 1 if a part of it does not, 3 if none does.

    With `as_json` there is always a document, also where the engine does not answer: then `running` is null. Raises
    CannotTell, which has exit code 3 too, if it does not answer about a stack that was made.
    """
    console = console or Console()
    record, problem = None, ""
    try:
        record = read_record(stack.folder)
    except HarnessError as error:
        problem = str(error)  # what runs is known without it
    try:
        parts = _parts(name, required=(stack.folder / VARIABLES_FILE).exists())
    except HarnessError as error:
        if not as_json:
            raise CannotTell("the engine was asked what runs", error) from None
        _print_json({"version": 1, "running": None, "problem": str(error)})
        return NOTHING
    now = time.time()
    if as_json:
        _print_json({**document(record, parts, now), "problem": problem})
    else:
        _say(console, stack, record, parts, now)
        if problem:
            console.say(problem)
    return exit_code(parts)


def exit_code(parts: Sequence[Part]) -> int:
    """Return the exit code for a stack in this state."""
    running = {part.service for part in parts if part.runs}
    if not running:
        return NOTHING
    return RUNNING if running >= NEEDED | {part.service for part in parts} else PARTLY


def document(record: Record | None, parts: Sequence[Part], now: float) -> dict[str, Any]:
    """Return what `--json` prints. `running` is true if every part runs."""
    known = record or Record("")
    return {
        "version": 1,
        "running": exit_code(parts) == RUNNING,
        "homeserver": {"url": known.url, "server_name": SERVER_NAME},
        "bot": {"user_id": BOT_USER},
        "containers": [{**asdict(part), "uptime_s": round(part.uptime_s(now), 1)} for part in parts],
        "profiles": list(known.profiles),
        "seed": known.seed,
        "people": [{"user_id": user_id, "password": password} for user_id, password in known.people],
    }


def _parts(name: str, *, required: bool) -> list[Part]:
    """Return the parts of a stack. If no engine answers, a stack that has files is unknown, and another is none."""
    try:
        engine = connect()
    except Unavailable:
        if required:
            raise
        return []
    try:
        return Parts(engine, name).now()
    finally:
        engine.close()


def _say(console: Console, stack: Stack, record: Record | None, parts: Sequence[Part], now: float) -> None:
    code = exit_code(parts)
    if code == NOTHING:
        again = "compose start" if parts else "compose up"
        kept = f"its data is in {stack.folder}; " if record else ""
        console.say(f"no stack runs here; {kept}start it: {command(again)}")
        for part in parts:
            console.say(f"{part.service:<12} {part.words(now)}")
        return
    names = {HOMESERVER: f"{record.url if record else ''}  ", BOT: f"{BOT_USER}  "}
    for part in parts:
        console.say(f"{part.service:<12} {names.get(part.service, '')}({part.words(now)}, container {part.container})")
    for missing in sorted(NEEDED - {part.service for part in parts}):
        console.say(f"{missing:<12} it has no container; try: {command('compose up')}")
    if record:
        say_people(console, record)
    down = [part.service for part in parts if not part.runs]
    for service in down:
        named = f" {service}" if service in NEEDED else ""
        console.say(f"{service} does not run; start it: {command('compose start' + named)}")


def say_people(console: Console, record: Record) -> None:
    """Print the blueprint, and who can log in."""
    console.say(f"{'seed':<12} {record.seed or 'none'}")
    if not record.people:
        console.say(f"{'people':<12} none are noted; to add and list some: {command('compose up --seed qa')}")
        return
    console.logins(record.url, record.people)


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, indent=2))
