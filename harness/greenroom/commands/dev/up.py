"""`dev`: start everything, show it, stream the logs, stop everything."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

from greenroom.bot_process import BOT_LOCALPART, matrix_environment
from greenroom.commands.dev.ahead import environment_ahead
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import forget_requests
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.follow import Sources
from greenroom.commands.dev.options import DevOptions
from greenroom.commands.dev.owner import new_run, owning, recorded_run, remove_drafts, runs_already, tidy
from greenroom.commands.dev.parts import Parts
from greenroom.commands.dev.restoring import is_half_restored, restore_seed
from greenroom.commands.dev.snapshots.swap import finish
from greenroom.commands.dev.staged import put_proxy, staged
from greenroom.commands.dev.status import bot_line
from greenroom.commands.dev.stay import stay
from greenroom.commands.dev.tools import say_what_stays
from greenroom.errors import AlreadyRunning, PortTaken, StartFailed
from greenroom.homeserver import RunningHomeserver
from greenroom.homeserver.ready import listens
from greenroom.homeserver.settings import check_port_free
from greenroom.homeserver.warm.client import end_idle_parent
from greenroom.people.accounts import Account, register_if_new
from greenroom.people.matrix_api import MatrixApi
from greenroom.processes.runs import own_head
from greenroom.seed.logins import accounts_of, password_on
from greenroom.seed.note import Note, note_path, read_note, write_note
from greenroom.spelling import command

# The dev bot lives on the dev homeserver whatever the environment says; other MATRIX_* settings are passed on to it.
OURS = {
    "MATRIX_HOMESERVER",
    "MATRIX_USER_ID",
    "MATRIX_PASSWORD",
    "MATRIX_ACCESS_TOKEN",
    "MATRIX_DB_PATH",
    "MATRIX_STORE_PATH",
}


def run_dev(folder: DevFolder, options: DevOptions, console: Console | None = None) -> int:
    """Run `dev` to its end; return the exit code."""
    return asyncio.run(_until_signalled(folder, options, console or Console()))


async def _until_signalled(folder: DevFolder, options: DevOptions, console: Console) -> int:
    task = asyncio.ensure_future(dev(folder, options, console))
    stopped_by: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not stopped_by:  # stopping goes on to its end, which comes within seconds
            task.cancel()
        stopped_by.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        console.say("stopped while starting; nothing is left running")
        return 128 + (stopped_by[0] if stopped_by else signal.SIGINT)


async def dev(folder: DevFolder, options: DevOptions, console: Console) -> int:
    """Start the environment; stay until cancelled, or with `detach` leave it running. Return the exit code."""
    folder.prepare()
    with owning(folder, answers=not options.detach):
        await _clear_the_way(folder, console)
        if finish(folder):
            console.say("finished a restore that was interrupted")
        if options.fresh or is_half_restored(folder):
            folder.wipe()
            folder.prepare()
        folder.rotate_logs()
        forget_requests(folder)
        folder.stage_file.unlink(missing_ok=True)
        parts = Parts(folder, new_run(folder), options.detach, {"version": 1}, {})
        async with AsyncExitStack() as stack:
            stack.callback(tidy, folder)
            stack.callback(end_idle_parent, own_head())  # it ends with us, but a moment after us
            stack.push_async_callback(parts.close)
            console.say(f"homeserver: {options.choice.kind} on backend {options.choice.backend} ({options.choice.why})")
            restored = await restore_seed(parts, options, console)
            port = options.port or _port_of_last_time(folder)
            if (environment := environment_ahead(folder, options, port, _passed_on())) is not None:
                parts.spawn_bot(options.bot, environment)  # it imports for as long as the homeserver does
            server = await _start_homeserver(parts, options, port, console)
            people = await _seed_once(folder, options, server, console, just_done=restored)
            sources = Sources(folder.project) if options.watch else None
            if options.stage:
                await put_proxy(parts, server)
            await _start_bot(parts, options, server, people)
            parts.state |= {
                "people": [{"user_id": person.user_id, "password": person.password} for person in people],
                "seed": options.seed,
                "env_file": str(folder.env_file),
            }
            parts.save()
            console.say(await bot_line(parts))
            console.overview(parts.state)
            if options.detach:
                stack.pop_all()
                console.say(f"running in the background; stop it: {command('down')}")
                return 0
            if options.stage:
                await stack.enter_async_context(staged(parts, console))
            console.say("Ctrl-C stops everything")
            try:
                return await stay(
                    folder,
                    sources,
                    parts,
                    console,
                    homeserver_log=options.homeserver_log,
                    outlives_parts=options.stage,
                )
            except asyncio.CancelledError:
                console.say("stopping")
        console.say(f"stopped; data kept in {folder.root} (start over: {command('dev --fresh')})")
        return 0


async def _clear_the_way(folder: DevFolder, console: Console) -> None:
    """End what a killed `dev` left. Raises AlreadyRunning if a detached one is whole and answers."""
    remove_drafts(folder.root)
    run = recorded_run(folder)
    if run is None:
        return
    living = run.living()
    url = folder.state()["homeserver"]["url"] if folder.state_file.exists() else None
    if url and living and len(living) == len(run.processes) and await listens(url):
        raise AlreadyRunning(runs_already(folder, f", at {url}"))
    if ended := tidy(folder):
        console.say(f"ended what was left of an earlier dev environment (pid {', '.join(map(str, ended))})")


async def _start_homeserver(parts: Parts, options: DevOptions, port: int, console: Console) -> RunningHomeserver:
    began = time.monotonic()
    server = await parts.start_homeserver(options.choice, port)
    console.say(f"homeserver: ready at {server.url} after {time.monotonic() - began:.1f} s")
    return server


def _port_of_last_time(folder: DevFolder) -> int:
    """Return the port of last time if it is free, so that Matrix clients and dev.env stay right; else 0."""
    try:
        port = int((folder.homeserver / "port").read_text())
        check_port_free(port)
    except (OSError, ValueError, PortTaken, StartFailed):
        return 0
    return port


async def _seed_once(
    folder: DevFolder, options: DevOptions, server: RunningHomeserver, console: Console, *, just_done: bool
) -> tuple[Account, ...]:
    """Seed a homeserver once per version of a blueprint; return the accounts. Later starts keep what people did since.

    `just_done`: its data was restored by this start. The lines about what stays come first, so that they stand there
    even if seeding fails.
    """
    blueprint = options.blueprint
    path = note_path(folder.homeserver, blueprint)
    before = read_note(path)
    if before and before.sha256 == blueprint.fingerprint:
        again = command(f"seed {options.seed}")
        if not just_done:
            console.say(f"seed: {blueprint.name} is there already (apply it again: {again})")
    else:
        if before:
            console.say(f"seed: {blueprint.name} has changed since it was applied; applying it again")
        from greenroom.seed import seed

        say_what_stays(console, before, blueprint, options.seed)
        began = time.monotonic()
        seeded = await seed(
            server, blueprint, on_progress=console.progress("seed"), start_over=f"dev --fresh --seed {options.seed}"
        )
        write_note(path, Note.of(blueprint))
        console.say(f"seed: {blueprint.name}, {seeded.steps_done} steps, {time.monotonic() - began:.1f} s")
    for line in blueprint.warnings():
        console.say(line)
    people = list(accounts_of(blueprint, server))
    if not any(person.localpart == BOT_LOCALPART for person in people):
        people.append(await _own_bot_account(server))
    return tuple(people)


async def _own_bot_account(server: RunningHomeserver) -> Account:
    """Register the bot's account if the blueprint has none."""
    password = password_on(server, BOT_LOCALPART)
    if made := await register_if_new(server, BOT_LOCALPART, password):
        async with MatrixApi(server.url) as api:  # the bot's devices are its own: they show that it has logged in
            await api.log_out(made.access_token)
    return Account(f"@{BOT_LOCALPART}:{server.server_name}", password)


async def _start_bot(parts: Parts, options: DevOptions, server: RunningHomeserver, people: tuple[Account, ...]) -> None:
    """Start the bot, or wait for the one that was started ahead. If that guessed wrong, it starts once more."""
    account = next(person for person in people if person.localpart == BOT_LOCALPART)
    environment = {**_passed_on(), **matrix_environment(server, account, parts.folder.bot)}
    if parts.bot is not None and parts.bot.settings.env == environment:
        await parts.bot.until_ready()
        return
    if parts.bot is not None:
        await parts.bot.stop()
    await parts.start_bot(options.bot, environment)


def _passed_on() -> dict[str, str]:
    """Return the MATRIX_* settings that do not come from us, for example the responder."""
    passed_on = {k: v for k, v in os.environ.items() if k.startswith("MATRIX_") and k not in OURS}
    return {"MATRIX_LOG_MESSAGES": "1", **passed_on}
