"""`dev`: start everything, show it, stream the logs, stop everything."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from greenroom.bot_process import (
    BOT_LOCALPART,
    OUR_BOT,
    OUR_READY_LINE,
    BotSettings,
    RunningBot,
    either,
    log_line,
    matrix_environment,
    running_for,
)
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.follow import Sources
from greenroom.commands.dev.options import DevOptions
from greenroom.commands.dev.owner import new_run, owning, recorded_run, remove_drafts, tidy
from greenroom.commands.dev.stay import stay
from greenroom.errors import AlreadyRunning, MatrixRefused, PortTaken, StartFailed
from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.homeserver.choose import make_homeserver
from greenroom.homeserver.ready import listens
from greenroom.homeserver.settings import check_port_free, replace_text
from greenroom.people.accounts import Account, register
from greenroom.processes.runs import Run
from greenroom.seed import seed
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.logins import accounts_of, password_on
from greenroom.spelling import command

STEADY_S = 1.5  # a bot that is not ours counts as ready after running for so long
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
        stopped_by.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        console.say("stopped while starting; nothing is left running")
        return 128 + (stopped_by[-1] if stopped_by else signal.SIGINT)


async def dev(folder: DevFolder, options: DevOptions, console: Console) -> int:
    """Start the environment; stay until cancelled, or with `detach` leave it running. Return the exit code."""
    folder.prepare()
    with owning(folder):
        await _clear_the_way(folder, console)
        if options.fresh:
            folder.wipe()
            folder.prepare()
        folder.rotate_logs()
        run = new_run(folder)
        async with AsyncExitStack() as stack:
            stack.callback(tidy, folder)
            server = await _start_homeserver(folder, options, run, console)
            stack.push_async_callback(server.close)
            people = await _seed_once(folder, options.blueprint, server, console)
            sources = Sources(folder.project) if options.watch else None
            bot = await _start_bot(folder, options, server, people, run)
            stack.push_async_callback(bot.stop)
            console.say(f"bot: live, pid {bot.pid}")
            state = _write_state(folder, options, server, bot, people)
            console.overview(state)
            if options.detach:
                stack.pop_all()
                console.say(f"running in the background; stop it: {command('down')}")
                return 0
            console.say("Ctrl-C stops everything")
            try:
                return await stay(folder, sources, server, bot, console)
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
        raise AlreadyRunning(
            f"a dev environment runs in {folder.project} already, at {url}; stop it: {command('down')}"
        )
    if ended := tidy(folder):
        console.say(f"cleaned up after a dev environment that had been killed (pid {', '.join(map(str, ended))})")


async def _start_homeserver(folder: DevFolder, options: DevOptions, run: Run, console: Console) -> RunningHomeserver:
    choice = options.choice
    console.say(f"homeserver: {choice.kind} on backend {choice.backend} ({choice.why})")
    began = time.monotonic()
    unstarted = make_homeserver(
        choice,
        folder.homeserver,
        HomeserverSettings(port=options.port or _port_of_last_time(folder)),
        log_path=folder.log("homeserver"),
        run=run,
        dies_with_parent=not options.detach,
    )
    server = await unstarted.start()
    replace_text(folder.homeserver / "port", server.url.rpartition(":")[2])
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
    folder: DevFolder, blueprint: Blueprint, server: RunningHomeserver, console: Console
) -> tuple[Account, ...]:
    """Seed a homeserver once per blueprint, so that later starts keep what people did since; return the accounts."""
    note = folder.homeserver / f"seeded-{blueprint.name}"
    began = time.monotonic()
    if note.exists():
        console.say(f"seed: {blueprint.name} is there already (apply it again: {command(f'seed {blueprint.name}')})")
    else:
        seeded = await seed(server, blueprint)
        note.touch()
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
    with suppress(MatrixRefused):  # M_USER_IN_USE: from an earlier start
        await register(server, BOT_LOCALPART, password)
    return Account(f"@{BOT_LOCALPART}:{server.server_name}", password)


async def _start_bot(
    folder: DevFolder,
    options: DevOptions,
    server: RunningHomeserver,
    people: tuple[Account, ...],
    run: Run,
) -> RunningBot:
    account = next(person for person in people if person.localpart == BOT_LOCALPART)
    passed_on = {k: v for k, v in os.environ.items() if k.startswith("MATRIX_") and k not in OURS}
    settings = BotSettings(
        command=options.bot or OUR_BOT,
        folder=folder.bot,
        env={**passed_on, **matrix_environment(server, account, folder.bot)},
        cwd=folder.project,
        ready=either(log_line(OUR_READY_LINE), running_for(STEADY_S)) if options.bot else log_line(OUR_READY_LINE),
        log_path=folder.log("bot"),
        dies_with_parent=not options.detach,
    )
    return await settings.start(run)


def _write_state(
    folder: DevFolder,
    options: DevOptions,
    server: RunningHomeserver,
    bot: RunningBot,
    people: tuple[Account, ...],
) -> Mapping[str, Any]:
    state = {
        "version": 1,
        "homeserver": server.describe(),
        "bot": {
            "user_id": bot.user_id,
            "pid": bot.pid,
            "log": str(bot.log_path),
            "command": shlex.join(options.bot) if options.bot else "python -m greenroom_bot",
        },
        "people": [{"user_id": person.user_id, "password": person.password} for person in people],
        "env_file": str(folder.env_file),
    }
    folder.write_state(state, {name: value for name, value in bot.env.items() if name.startswith("MATRIX_")})
    return state
