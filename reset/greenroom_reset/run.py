"""One reset from survey to verification: the order of things, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Literal

from greenroom_bot.config import Config
from greenroom_reset import local
from greenroom_reset.database import held, in_use_by, only_one
from greenroom_reset.errors import Refused
from greenroom_reset.hosts import check_host
from greenroom_reset.local import Paths
from greenroom_reset.plan import Plan, ServerPart
from greenroom_reset.screen import Screen
from greenroom_reset.summary import plan_lines

Mode = Literal["local-only", "server-leave-forget"]
DEFAULT_MODE: Mode = "local-only"


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    modes: frozenset[Mode]
    dry_run: bool = False
    yes: bool = False
    known_host: str | None = None


async def reset(plan: Plan, options: Options, environ: Mapping[str, str], screen: Screen) -> None:
    """Survey, plan, confirm, act, verify: the server first and the local files last.

    `plan` is filled by the survey and carried out in place, so that the caller can print it however the run ends.
    With both modes the local files are kept unless the server's part is complete: they hold the session, and the
    next run needs it. Raises Refused or the bot's errors when nothing (more) can be done.
    """
    if not (options.dry_run or options.yes or screen.interactive):
        raise Refused("no terminal to confirm on. Pass --yes to proceed, --dry-run to see the plan")
    paths = Paths.from_environ(environ)
    with ExitStack() as locks:
        locks.enter_context(only_one(paths.db.parent))
        if "local-only" in options.modes:
            plan.files = local.survey(paths)
            plan.token_cure = local.token_left_without_keys(environ, plan.files)
            locks.enter_context(held(paths.db))
        elif holder := in_use_by(paths.db):
            plan.notes.append(f"the bot is running ({holder}) and may make new rooms; stop it for a clean run")
        if "server-leave-forget" in options.modes:
            config = Config.from_environ(environ)
            check_host(config.homeserver, options.known_host)
            await _reset_server(plan, config, options, screen)
        else:
            plan.notes.append("every room on the server stays as it is, and the bot's next start rebuilds from them")
            _confirm(plan, options, screen)
        if not options.dry_run:
            _delete(plan, paths)


async def _reset_server(plan: Plan, config: Config, options: Options, screen: Screen) -> None:
    # The Matrix client takes half a second to import, and a local reset needs no network.
    from greenroom_reset.account import leftover_devices, sign_out_leftover, signed_in
    from greenroom_reset.act import leave_and_forget, verify
    from greenroom_reset.look import Look, doubt
    from greenroom_reset.pace import Pace
    from greenroom_reset.rooms import forgets_on_leave, plan_rooms

    pace, password = Pace(screen.waiting), bool(config.password)
    async with AsyncExitStack() as account:
        async with screen.busy(lambda: f"signing in as {config.user_id}"):
            client, how = await account.enter_async_context(signed_in(config, pace, plan.notes.append))
            leftover = await leftover_devices(client, how)
        client.read_only = True  # until somebody has said yes, a write is a bug
        async with screen.busy(lambda: f"listing the rooms of {config.user_id} (this can take minutes)"):
            look = Look(client, config, pace, plan.notes.append)
            listing = await look.rooms()
        plan.server = ServerPart(config.homeserver, config.user_id, plan_rooms(listing, config.user_id))
        plan.server.doubt = doubt(listing, password=password)
        if plan.server.doubt:
            plan.notes.append(plan.server.doubt)
        elif listing.contradiction:
            plan.notes.append(f"{listing.contradiction}; such rooms are not in this plan")
        plan.notes.append(f"signed in with {how}")
        for device_id in leftover:
            by_us = "a real run signs it out" if options.dry_run else "this run signs it out at the end"
            by_hand = "sign it out in a Matrix client, or run this with MATRIX_PASSWORD set"
            cure = by_us if password else by_hand
            plan.notes.append(f"the device {device_id} of a killed run is still signed in; {cure}")
        _confirm(plan, options, screen)
        if not options.dry_run:
            forced_forget = await forgets_on_leave(client, pace)
            client.read_only, plan.begun = False, True
            async with screen.busy(plan.server.progress):
                await leave_and_forget(
                    client, plan.server, screen, forced_forget=forced_forget, witness=not listing.current
                )
            async with screen.busy(lambda: "listing the rooms again (this can take minutes)"):
                await verify(look, plan.server, password=password)
            for device_id in leftover if password else ():
                await sign_out_leftover(config, device_id, plan.notes.append)


def _confirm(plan: Plan, options: Options, screen: Screen) -> None:
    screen.lines(plan_lines(plan))
    if not (options.dry_run or options.yes or plan.empty or screen.confirmed("Go ahead?")):
        raise Refused("not confirmed, nothing was changed")


def _delete(plan: Plan, paths: Paths) -> None:
    """Delete the local files. Where that is refused after the server was asked, keep them, so that the plan is told."""
    if plan.files is None:
        return
    try:
        if plan.server and not plan.server.complete:
            raise Refused("the server's part is not complete, and the next run needs the session")
        if local.survey(paths) != plan.files:
            raise Refused("the local files have changed since the plan was made. Nothing was deleted; run this again")
        plan.begun = True
        local.delete(plan.files)
    except Refused as error:
        if plan.server is None:
            raise
        local.keep(plan.files, str(error))
