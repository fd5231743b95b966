"""A plan in words: before acting, afterwards in three parts, and as JSON (docs/reset.md describes the JSON)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

from greenroom_reset.plan import Plan, RoomState, RoomStep, ServerPart, people, printable

VERSION = 4
SESSION_FILE = "session.json"  # as in greenroom_bot.matrix.session, whose import would load the Matrix client


def plan_lines(plan: Plan) -> Iterator[str]:
    """Print what a reset is about to do: the server first, as it is carried out."""
    yield "Plan of a development reset (never for production accounts)"
    if plan.server:
        yield f"Server {plan.server.homeserver} as {plan.server.user_id}: {len(plan.server.rooms)} to do"
        yield from (f"  {room.action}: {room}" for room in plan.server.rooms)
    if plan.files is not None:
        yield f"Local files: {sum(step.state == 'planned' for step in plan.files)} to delete"
        for step in plan.files:
            yield f"  {'delete' if step.state == 'planned' else step.state}: {step.what} {step.path}"
    if plan.token_cure:
        yield f"Note: {plan.token_cure}"
    yield from (f"Note: {note}" for note in plan.notes)


def summary_lines(plan: Plan) -> Iterator[str]:
    """Print what a reset did, or would do. There are always three parts."""
    yield "Summary of the dry run: nothing was changed" if plan.dry_run else "Summary"
    if plan.ended_because:
        yield f"  NOT FINISHED: {plan.ended_because}"
    yield f"1. Local files {'that would be deleted' if plan.dry_run else 'deleted'}"
    if plan.files is None:
        yield "  not part of this run: local files untouched"
    yield from (f"  {step.outcome()}" for step in plan.files or ())
    yield f"2. Rooms {'that would be left and forgotten' if plan.dry_run else 'left and forgotten'} on the server"
    if plan.server is None:
        yield "  not part of this run: every room stays as it is, and the bot's next start rebuilds from them"
    else:
        yield from _server_lines(plan, plan.server)
    yield "3. Manual steps in a Matrix client for a true clean room"
    yield from (f"  - {step}" for step in manual_steps(plan))
    yield from (f"Note: {note}" for note in plan.notes)


def _server_lines(plan: Plan, server: ServerPart) -> Iterator[str]:
    yield from (f"  {room.outcome()}" for room in server.rooms)
    yield from (f"  arrived meanwhile: {printable(room_id)} [{how}]" for room_id, how in server.arrived.items())
    if plan.ended_because:
        counted = ((server.count(state), state) for state in get_args(RoomState))
        yield f"  of {len(server.rooms)} rooms: {', '.join(f'{count} {state}' for count, state in counted if count)}"
    elif server.unverified_because:
        done = f"{server.count('done')} of {len(server.rooms)} confirmed, no more than that"
        yield f"  {done if server.count('done') else 'nothing could be confirmed'}: {server.unverified_because}"
    elif not server.rooms and server.doubt:
        yield f"  none that is known for certain: {server.doubt}"
    elif not server.rooms:
        yield "  none: the account is in no room, has no invite, and has left none without forgetting it"
    elif not plan.dry_run:
        yield f"  {server.count('done')} of {len(server.rooms)} confirmed by listing the rooms again"
    if nobody := [room for room in server.rooms if room.left_to_nobody]:
        unsure = server.unverified_because or plan.ended_because
        would = "would still" if plan.dry_run else "may still" if unsure else "still"
        yield f"  rooms that {would} have members but no administrator: {len(nobody)}"
        yield from (f"    {room}" for room in nobody)


def manual_steps(plan: Plan) -> Iterator[str]:
    """Name what only people can do, and only where something of it is left."""
    gone = [step for step in plan.files or () if step.what == "store file" and step.state in ("planned", "done")]
    if gone and plan.token_cure:
        yield plan.token_cure
    if any(step.path.name == SESSION_FILE for step in gone):
        yield "the bot's old device stays in its account's list of sessions: sign it out there if it bothers you"
    if plan.server is None:
        yield "let the bot's account go as well: --mode server-leave-forget (this run has asked no server)"
        yield "each person: leave or archive the old rooms, the Space last, forget them, clear the client's cache"
        yield "invite the bot afresh and accept its fresh invites"
        return
    if not plan.dry_run and not plan.server.complete:
        yield "run this again: not everything above is done"
    open_rooms = Counter(user for room in plan.server.rooms for user in (*room.others, *room.invited))
    for user, count in sorted(open_rooms.items()):
        yield f"{people([user])}: leave or archive the {count} still open there, the Space last; then forget them"
    if open_rooms:
        yield "clear the client's cache, invite the bot afresh, and accept its fresh invites"
    if blind := sum(not room.members_known for room in plan.server.rooms):
        yield f"not known: who is in {blind} of the rooms above, because the account does not see their members"
    if plan.server.doubt or plan.server.unverified_because:
        yield "not known: whether the account has other invites, or left other rooms; look with it in a Matrix client"
    yield "not known: who is in rooms that the account forgot before; ask the people who used the bot"


def document(plan: Plan) -> dict[str, Any]:
    """Return the summary as a JSON document."""
    return {
        "version": VERSION,
        "development_only": True,
        "dry_run": plan.dry_run,
        "exit_code": plan.exit_code,
        "ended_because": plan.ended_because or None,
        "local": plan.files
        and [
            {"path": str(step.path), "what": step.what, "state": step.result, "error": step.error or None}
            for step in plan.files
        ],
        "server": plan.server and _server(plan.server),
        "manual_steps": list(manual_steps(plan)),
        "notes": plan.notes,
    }


def _server(server: ServerPart) -> dict[str, Any]:
    return {
        "homeserver": server.homeserver,
        "user_id": server.user_id,
        "counts": {state: server.count(state) for state in get_args(RoomState)},
        "rooms": [_room(room) for room in server.rooms],
        "arrived": [{"room_id": room_id, "membership": how} for room_id, how in server.arrived.items()],
        "unverified_because": server.unverified_because or None,
        "acting_seconds": round(server.acting_s, 3),
    }


def _room(room: RoomStep) -> dict[str, Any]:
    error = room.error
    return {
        "room_id": room.room_id,
        "name": room.name,
        "kind": "space" if room.space else "room",
        "membership": room.membership,
        "action": room.action,
        "state": room.state,
        "still": room.still,
        "error": error and {"errcode": error.errcode or None, "http_status": error.status, "message": str(error)},
        "how": room.how or None,
        "by": room.by,
        "members_known": room.members_known,
        "others": list(room.others),
        "invited": list(room.invited),
        "administered_by_nobody": room.left_to_nobody,
    }
