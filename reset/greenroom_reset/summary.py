"""What a reset may claim: three parts, always, as text and as JSON (docs/reset.md describes the JSON)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_reset.plan import ACTIONS, FileStep, Membership, RoomStep, ServerPlan, people

VERSION = 1
SESSION_FILE = "session.json"  # greenroom_bot.matrix.session; importing that would import the Matrix client
FileState = Literal["deleted", "would be deleted", "already absent", "failed", "kept"]
RoomState = Literal["planned", "done", "failed", "unverified"]


@dataclass(frozen=True)
class FileResult:
    step: FileStep
    state: FileState
    error: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.step.what} {self.step.path}{f' ({self.error})' if self.error else ''}"

    def json(self) -> dict[str, Any]:
        return {"path": str(self.step.path), "what": self.step.what, "state": self.state, "error": self.error or None}


@dataclass(frozen=True)
class RoomResult:
    """``still`` is how the closing listing has the room, None if it has not. ``earlier``: by an interrupted run."""

    step: RoomStep
    state: RoomState
    still: Membership | None = None
    error: MatrixError | None = None
    earlier: bool = False

    @property
    def left_to_nobody(self) -> bool:
        """Whether people stay whom nobody can administer now; not where the bot is still among them."""
        return self.step.unadministered and self.still in (None, "leave")

    def __str__(self) -> str:
        action = ACTIONS[self.step.membership]
        words = {"planned": f"would {action}", "failed": "NOT DONE", "unverified": "UNVERIFIED"}
        prefix = "done by the interrupted run" if self.earlier else words.get(self.state, f"done, {action}")
        seen = f" [still listed: {self.still}]" if self.still else ""
        return f"{prefix}: {self.step}{seen}{f' ({self.error})' if self.error else ''}"

    def json(self) -> dict[str, Any]:
        step, why = self.step, self.error
        return {
            "room_id": step.room_id,
            "name": step.name,
            "kind": "space" if step.space else "room",
            "membership": step.membership,
            "action": ACTIONS[step.membership],
            "state": self.state,
            "by": "interrupted run" if self.earlier else "this run",
            "still": self.still,
            "error": why and {"errcode": why.errcode or None, "http_status": why.status, "message": str(why)},
            "others": list(step.others),
            "invited": list(step.invited),
            "administered_by_nobody": self.left_to_nobody,
        }


@dataclass(frozen=True)
class ServerResult:
    """``arrived`` are rooms that the closing listing has and the plan had not. ``unlisted`` says why there is none.
    ``acting_s``: seconds spent on leaving and forgetting, waits included."""

    plan: ServerPlan
    rooms: tuple[RoomResult, ...]
    arrived: Mapping[RoomId, Membership]
    unlisted: str = ""
    acting_s: float = 0.0

    def json(self) -> dict[str, Any]:
        return {
            "homeserver": self.plan.homeserver,
            "user_id": self.plan.user_id,
            "counts": {state: self.count(state) for state in ("planned", "done", "failed", "unverified")},
            "rooms": [room.json() for room in self.rooms],
            "arrived": [{"room_id": room_id, "membership": how} for room_id, how in self.arrived.items()],
            "unverified_because": self.unlisted or None,
            "acting_seconds": round(self.acting_s, 3),
        }

    def count(self, state: RoomState) -> int:
        return sum(room.state == state for room in self.rooms)

    @property
    def complete(self) -> bool:
        """Whether everything was done, confirmed, and nothing new has come."""
        return all(room.state == "done" for room in self.rooms) and not self.arrived


@dataclass(frozen=True)
class Summary:
    dry_run: bool
    files: tuple[FileResult, ...] | None
    server: ServerResult | None
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        if self.dry_run:
            return 0
        files_done = all(file.state not in ("failed", "kept") for file in self.files or ())
        return 0 if files_done and (self.server is None or self.server.complete) else 1

    def json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "development_only": True,
            "dry_run": self.dry_run,
            "exit_code": self.exit_code,
            "local": None if self.files is None else [file.json() for file in self.files],
            "server": self.server and self.server.json(),
            "manual_steps": list(self.manual_steps()),
            "notes": list(self.notes),
        }

    def lines(self) -> Iterator[str]:
        yield "Summary of the dry run: nothing was changed" if self.dry_run else "Summary"
        yield f"1. Local files {'that would be deleted' if self.dry_run else 'deleted'}"
        if self.files is None:
            yield "  not part of this run: local files untouched"
        else:
            yield from (f"  {file}" for file in self.files)
        yield f"2. Rooms {'that would be left and forgotten' if self.dry_run else 'left and forgotten'} on the server"
        yield from self._server_lines()
        yield "3. Manual steps in a Matrix client for a true clean room"
        yield from (f"  - {step}" for step in [*self.manual_steps()] or ["none: nothing is left that people would see"])
        yield from (f"Note: {note}" for note in self.notes)

    def _server_lines(self) -> Iterator[str]:
        if self.server is None:
            yield "  not part of this run: every room stays as it is, and the bot's next start rebuilds from them"
            return
        server = self.server
        yield from (f"  {room}" for room in server.rooms)
        yield from (f"  arrived meanwhile: {room_id} [{how}]" for room_id, how in server.arrived.items())
        if server.unlisted:
            yield f"  nothing could be confirmed: {server.unlisted}"
        elif not server.rooms:
            yield "  none: the account is in no room, has no invite, and has left none without forgetting it"
        elif not self.dry_run:
            yield f"  {server.count('done')} of {len(server.rooms)} confirmed by listing the rooms again"
        if nobody := [room.step for room in server.rooms if room.left_to_nobody]:
            verb = "would be" if self.dry_run else "may be" if server.unlisted else "are"
            yield f"  people stay in {len(nobody)} that {verb} administered by nobody:"
            yield from (f"    {step}" for step in nobody)

    def manual_steps(self) -> Iterator[str]:
        """Tell what only people can do, and only where there is something left of it."""
        gone = ("deleted", "would be deleted")
        if any(file.step.path.name == SESSION_FILE and file.state in gone for file in self.files or ()):
            yield "the bot's old device stays in its account's list of sessions: sign it out there if it bothers you"
        if self.server is None:
            yield "let the bot's account go as well: --mode server-leave-forget (this run has asked no server)"
            yield "each person: leave or archive the old rooms, the Space last, forget them, clear the client's cache"
            yield "invite the bot afresh and accept its fresh invites"
            return
        if not self.dry_run and not self.server.complete:
            yield "run this again: not everything above is done"
        stay: dict[UserId, int] = {}
        for room in self.server.rooms:
            for user in (*room.step.others, *room.step.invited):
                stay[user] = stay.get(user, 0) + 1
        for user, count in sorted(stay.items()):
            yield f"{people([user])}: leave or archive the {count} still open there, the Space last; then forget them"
        if stay:
            yield "clear the client's cache, invite the bot afresh, and accept its fresh invites"
