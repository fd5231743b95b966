"""The tasks that act on a running dev environment: seed, status, reset, logs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.parse import urlsplit

from greenroom.bot_process import BOT_LOCALPART
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import control, recorded_parts
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.follow import LogTail
from greenroom.commands.dev.options import as_typed
from greenroom.commands.dev.owner import noted_state
from greenroom.commands.dev.parts import BOT, PARTS, START, STOP
from greenroom.commands.dev.snapshots.swap import check_finished
from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Registration
from greenroom.homeserver.kind import find_kind
from greenroom.homeserver.settings import Secrets
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint
from greenroom.seed.logins import accounts_of
from greenroom.seed.note import Note, note_path, read_note, stays, write_note
from greenroom.seed.repeat import settings_of
from greenroom.spelling import command

SHOWN = 10  # lines about what stays


def seed_dev(
    folder: DevFolder,
    name: str,
    settings: Sequence[str] = (),
    *,
    dry_run: bool = False,
    console: Console | None = None,
) -> int:
    """Apply a blueprint to the running dev homeserver, or print the plan with `dry_run`."""
    server, blueprint = running_homeserver(folder), load_blueprint(name, settings_of(settings))
    console, note = console or Console(), note_path(folder.homeserver, blueprint)
    say_what_stays(console, read_note(note), blueprint, as_typed(name, settings))
    start_over = f"dev --fresh --seed {as_typed(name, settings)}"
    meets_bot = any(person.name == BOT_LOCALPART for person in blueprint.people)
    # It is planned again once the bot has stopped: until then the bot may change what is missing.
    acts = not dry_run and meets_bot and asyncio.run(_has_steps(server, blueprint, start_over))
    with _bot_paused(folder, console) if acts else nullcontext():
        code = asyncio.run(_seed(server, blueprint, note, dry_run, console, start_over))
    if not dry_run:
        logins = [(account.user_id, account.password) for account in accounts_of(blueprint, server)]
        console.people(folder.seeded(as_typed(name, settings), logins))
    return code


@contextmanager
def _bot_paused(folder: DevFolder, console: Console) -> Iterator[None]:
    """Stop the bot, if it runs, while seeding acts with its account; start it again.

    A running bot would accept and decline the invites itself and leave rooms, and then steps of the plan are refused.
    """
    if recorded_parts(folder).living(BOT) is None:
        yield
        return
    control(folder, STOP, BOT, console)
    try:
        yield
    finally:
        control(folder, START, BOT, console)


async def _has_steps(server: ExternalHomeserver, blueprint: Blueprint, start_over: str) -> bool:
    from greenroom.seed import Seeder

    async with Seeder(server, blueprint, start_over=start_over) as seeder:
        return bool((await seeder.plan()).steps)


async def _seed(
    server: ExternalHomeserver, blueprint: Blueprint, note: Path, dry_run: bool, console: Console, start_over: str
) -> int:
    from greenroom.seed import Seeder

    async with Seeder(server, blueprint, start_over=start_over) as seeder:
        plan = await seeder.plan()
        if dry_run or not plan.steps:
            for line in plan.lines():
                console.say(line)
        else:
            began = time.monotonic()
            await seeder.apply(plan, on_progress=console.progress("seed"))
            console.say(f"seed: {blueprint.name}, {len(plan.steps)} steps, {time.monotonic() - began:.1f} s")
        if not dry_run:
            write_note(note, Note.of(blueprint))
    return 0


def say_what_stays(console: Console, before: Note | None, blueprint: Blueprint, typed: str) -> None:
    """Print what a blueprint's older version brought about and the new one does not undo, with the way out."""
    lines = stays(before, blueprint)
    for line in lines[:SHOWN]:
        console.say(f"not undone: {line}")
    if len(lines) > SHOWN:
        console.say(f"not undone: {len(lines) - SHOWN} more of the kind")
    if lines:
        console.say(f"to start over without them: {command(f'dev --fresh --seed {typed}')}")


def running_homeserver(folder: DevFolder) -> ExternalHomeserver:
    """Return the running dev homeserver. Raises HarnessError if none runs, DamagedSecrets if its secrets are."""
    described = noted_state(folder)["homeserver"]
    kind = find_kind(described["kind"])
    registration = None
    with suppress(FileNotFoundError):
        secrets = Secrets.read(folder.homeserver / "secrets.json")
        registration = Registration(kind.registration, secrets.registration_shared_secret)
    return ExternalHomeserver(described["url"], described["server_name"], kind=kind.name, registration=registration)


def reset(
    folder: DevFolder, *, local: bool, server: bool, dry_run: bool = False, yes: bool = False, as_json: bool = False
) -> int:
    """Run the reset tool for the dev bot, once. The default is a local reset; with both modes the server comes first.

    A dev homeserver on a remote engine is not loopback, but it is ours: the command names its host to the tool.
    """
    check_finished(folder)
    wanted = (("server-leave-forget", server), ("local-only", local or not server))
    modes = [word for mode, chosen in wanted if chosen for word in ("--mode", mode)]
    flags = [flag for flag, given in (("--dry-run", dry_run), ("--yes", yes), ("--json", as_json)) if given]
    return run_module(folder, ["greenroom_reset", *modes, *_vouched_host(folder), *flags])


def _vouched_host(folder: DevFolder) -> list[str]:
    ours = folder.recorded_environment().get("MATRIX_HOMESERVER")
    if ours is None or folder.environment().get("MATRIX_HOMESERVER") != ours:
        return []
    host = urlsplit(ours).hostname or ""
    return [] if host in ("127.0.0.1", "localhost", "::1") else ["--i-know-this-is", host]


def run_module(folder: DevFolder, arguments: Sequence[str]) -> int:
    """Run a module of ours with the variables of the dev environment; an explicit MATRIX_* variable wins.

    -P: a `reset.py` or `bot.py` of the project is not on the path of the child.
    """
    environment = folder.environment()
    if "MATRIX_HOMESERVER" not in environment:
        raise HarnessError(
            f"no dev environment was ever started in {folder.project}; try: {command('dev')}, or set MATRIX_*"
        )
    return run_to_its_end([sys.executable, "-P", "-m", *arguments], cwd=folder.project, env=environment)


def run_to_its_end(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command and return its exit code. After a signal, wait for it to tidy up and end by itself.

    The terminal sends Ctrl-C to the command too; SIGTERM is passed on here. `subprocess.run` would kill the command
    0.25 s after Ctrl-C.
    """
    with subprocess.Popen(command, cwd=cwd, env=env) as child:
        handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: child.terminate()}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            return child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def show_logs(folder: DevFolder, which: str, *, follow: bool = False, console: Console | None = None) -> int:
    """Print the log of the homeserver, the bot, or both. With `follow`, print new lines until Ctrl-C."""
    if which and which not in PARTS:
        raise Misuse(f"no such log: {which!r}; there are {' and '.join(PARTS)}")
    console = console or Console()
    names = [which] if which else list(PARTS)
    tails = {name: LogTail(folder.log(name)) for name in names}
    if not any(folder.log(name).exists() for name in names):
        raise HarnessError(f"there is no log in {folder.root / 'logs'}; try: {command('dev')}")
    try:
        while True:
            for name, tail in tails.items():
                for line in tail.new_lines():
                    console.log(name, line)
            if not follow:
                return 0
            time.sleep(0.1)
    except KeyboardInterrupt:
        return 0
