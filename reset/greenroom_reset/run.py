"""One reset from survey to summary: the order of things, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from greenroom_bot.config import Config
from greenroom_bot.matrix.errors import MatrixError, SessionOver
from greenroom_bot.matrix.ids import RoomId
from greenroom_reset import local
from greenroom_reset.database import held, in_use_by
from greenroom_reset.errors import Refused, SignInRefused
from greenroom_reset.hosts import check_host
from greenroom_reset.journal import Journal, only_one
from greenroom_reset.local import Paths
from greenroom_reset.plan import FileStep, Plan, RoomStep, ServerPlan
from greenroom_reset.screen import Screen
from greenroom_reset.summary import FileResult, RoomResult, ServerResult, Summary

if TYPE_CHECKING:
    from greenroom_bot.matrix.client import Client

Mode = Literal["local-only", "server-leave-forget"]


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    modes: frozenset[Mode]
    dry_run: bool = False
    yes: bool = False
    known_host: str | None = None


async def reset(
    options: Options, environ: Mapping[str, str], screen: Screen, tell: Callable[[Summary], None]
) -> Summary:
    """Survey, plan, confirm, act, verify, tell: the server first and the local files last.

    With both modes the local files are kept unless the server's part is complete: they hold the session, and the
    next run needs it. Raises ResetError or the bot's errors when nothing (more) can be done.
    """
    if not (options.dry_run or options.yes or screen.interactive):
        raise Refused("nobody is there to confirm (no terminal): add --yes to go ahead, or --dry-run for the plan")
    paths, notes = Paths.from_environ(environ), []
    with ExitStack() as held_paths:
        files = None
        if "local-only" in options.modes:
            files = local.survey(paths)
            held_paths.enter_context(held(paths.db))
        elif holder := in_use_by(paths.db):
            notes.append(f"the bot is running ({holder}) and may make new rooms meanwhile; stop it for a clean run")
        if "server-leave-forget" not in options.modes:
            notes.append("every room on the server stays as it is, and the bot's next start rebuilds from them")
            _confirm(plan := Plan(files, None, tuple(notes)), options, screen)
            tell(summary := Summary(options.dry_run, _delete(plan, paths, options), None, plan.notes))
            return summary
        config = Config.from_environ(environ)
        check_host(config.homeserver, options.known_host)
        held_paths.enter_context(only_one(paths.db.parent))
        journal = Journal(paths.journal, config.homeserver, config.user_id)
        summary = await _with_server(options, config, screen, Plan(files, None, tuple(notes)), paths, journal)
        tell(summary)
        if summary.server and not (options.dry_run or summary.server.unlisted):
            # Only now: until somebody has read what became of a room, the next run must be able to say it.
            journal.settle(room.step for room in summary.server.rooms if room.state != "done")
        return summary


async def _with_server(
    options: Options, config: Config, screen: Screen, plan: Plan, paths: Paths, journal: Journal
) -> Summary:
    # The Matrix client takes half a second to import, and a local reset has no business with the network.
    from greenroom_reset.account import signed_in, wake
    from greenroom_reset.pace import Pace
    from greenroom_reset.rooms import forgets_on_leave, list_rooms, plan_rooms

    warnings: list[str] = []
    async with AsyncExitStack() as stack:
        pace = Pace(screen.waiting)
        account = await stack.enter_async_context(signed_in(config, pace, warnings.append))
        client = account.client
        client.read_only = True  # until somebody has said yes, a write is a bug
        forced = await forgets_on_leave(client, pace)
        rooms = plan_rooms(await list_rooms(client, pace, facts=True), config.user_id)
        server = ServerPlan(config.homeserver, config.user_id, *_resumed(journal, rooms))
        plan = Plan(plan.files, server, (*plan.notes, f"signed in with {account.how}"))
        _confirm(plan, options, screen)
        if options.dry_run:
            rooms_result = tuple(RoomResult(step, "planned") for step in server.rooms)
            result = ServerResult(server, (*rooms_result, *_earlier(server)), {})
        else:
            await wake(client)
            client.read_only = False
            result = await _leave_and_verify(client, server, journal, screen, forced=forced)
    try:
        if not (result.complete or options.dry_run):
            raise Refused("the server's part is not complete, and the next run needs the session")
        files = _delete(plan, paths, options)
    except Refused as why:  # what was done on the server has to be told all the same
        files = None if plan.files is None else tuple(FileResult(step, "kept", str(why)) for step in plan.files)
    notes = (*plan.notes, *warnings, *([journal.note] if journal.note else []))
    return Summary(options.dry_run, files, result, notes)


def _confirm(plan: Plan, options: Options, screen: Screen) -> None:
    screen.lines(plan.lines())
    if not (options.dry_run or options.yes or plan.empty or screen.confirmed("Go ahead?")):
        raise Refused("not confirmed, nothing was changed")


def _resumed(journal: Journal, rooms: tuple[RoomStep, ...]) -> tuple[tuple[RoomStep, ...], tuple[RoomStep, ...]]:
    """Return the rooms to do and the ones done before, with what an interrupted run left half done among the former.

    A room that it had planned, did not finish, and that is no longer listed may be left but not forgotten on a server
    that does not list left rooms: it is forgotten once more, which harms nothing.
    """
    listed = {step.room_id for step in rooms}
    half_done = [step for step in journal.unfinished.values() if step.room_id not in listed]
    to_do = (*(RoomStep(**{**vars(step), "membership": "leave"}) for step in half_done), *rooms)
    finished = tuple(step for step in journal.finished.values() if step.room_id not in listed)
    return tuple(sorted(to_do, key=lambda step: (step.layer, step.name, step.room_id))), finished


def _earlier(server: ServerPlan) -> tuple[RoomResult, ...]:
    return tuple(RoomResult(step, "done", earlier=True) for step in server.earlier)


async def _leave_and_verify(
    client: Client, server: ServerPlan, journal: Journal, screen: Screen, *, forced: bool
) -> ServerResult:
    from greenroom_reset.act import leave_and_forget
    from greenroom_reset.pace import Pace
    from greenroom_reset.rooms import list_rooms

    with journal.opened(server):
        began = time.monotonic()
        try:
            with screen.progress(len(server.rooms)):
                failures = await leave_and_forget(
                    client,
                    server.rooms,
                    forget=lambda step: not forced or step.membership == "leave",
                    journal=journal,
                    leaving=Pace(screen.waiting),
                    forgetting=Pace(screen.waiting),
                    advance=screen.advance,
                )
        except SessionOver as why:
            raise SignInRefused(f"the homeserver ended the session midway ({why}); run this again to go on") from why
        acting_s = time.monotonic() - began
        try:
            still = (await list_rooms(client, Pace(screen.waiting), facts=False)).memberships
        except (MatrixError, SessionOver) as why:
            unverified = tuple(RoomResult(s, "unverified", error=failures.get(s.room_id)) for s in server.rooms)
            return ServerResult(server, (*unverified, *_earlier(server)), {}, str(why), acting_s)
    results = [RoomResult(s, "done", still.get(s.room_id), failures.get(s.room_id)) for s in server.rooms]
    results += [RoomResult(s, "done", still.get(s.room_id), earlier=True) for s in server.earlier]
    judged = tuple(RoomResult(r.step, _verdict(r), r.still, r.error, r.earlier) for r in results)
    known: set[RoomId] = {result.step.room_id for result in judged}
    arrived = {room_id: how for room_id, how in still.items() if room_id not in known}
    return ServerResult(server, judged, arrived, acting_s=acting_s)


def _verdict(result: RoomResult) -> Literal["done", "failed"]:
    """A room is done when every request for it was acknowledged and the server no longer lists it: both."""
    return "failed" if result.still or result.error else "done"


def _delete(plan: Plan, paths: Paths, options: Options) -> tuple[FileResult, ...] | None:
    if plan.files is None:
        return None
    if options.dry_run:
        return tuple(FileResult(step, "would be deleted" if step.present else "already absent") for step in plan.files)

    def without_journal(steps: tuple[FileStep, ...]) -> list[FileStep]:
        return [step for step in steps if not step.path.name.startswith(paths.journal.name)]

    found = local.survey(paths)
    if without_journal(found) != without_journal(plan.files):
        raise Refused("the local files are not what they were when the plan was made; nothing was deleted, run again")
    failures = local.delete(found)
    return tuple(
        FileResult(step, "failed", failures[step.path])
        if step.path in failures
        else FileResult(step, "deleted" if step.present else "already absent")
        for step in found
    )
