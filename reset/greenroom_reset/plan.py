"""A reset as a list of steps: the plan before it is carried out, the result afterwards.

Each step has a state. The survey makes the steps, a dry run prints them, acting and verifying change their states, and
the summary prints the same steps again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import RoomId, UserId

Membership = Literal["join", "invite", "knock", "leave"]
How = Literal["invited", "made", "kicked", "banned", "unknown", ""]
FileState = Literal["planned", "already absent", "already empty", "done", "failed", "kept"]
# `acknowledged` becomes `done` or `failed` when the rooms are listed again, and `unverified` when that is impossible.
# A room is `unverified` too from the first request for it that may have an effect until all are acknowledged.
# `planned` becomes `not begun` when the run ends early.
RoomState = Literal["planned", "not begun", "acknowledged", "done", "failed", "unverified"]

ACTIONS: dict[Membership, str] = {
    "join": "leave and forget",
    "invite": "decline and forget",
    "knock": "withdraw and forget",
    "leave": "forget",
}


@dataclass
class FileStep:
    """One path of the bot's local state. Steps are carried out in order, a directory after its files."""

    path: Path
    what: Literal["database", "side file", "store file", "store directory"]
    state: FileState = "planned"
    error: str = ""

    @property
    def result(self) -> str:
        """The state in the words of the summary."""
        return {"planned": "would be deleted", "done": "deleted"}.get(self.state, self.state)

    def outcome(self) -> str:
        """Return one line of the summary."""
        return f"{self.result}: {self.what} {self.path}{f' ({self.error})' if self.error else ''}"


@dataclass
class RoomStep:
    """One room that the account is in, is invited to, knocks at, or has left without forgetting.

    `others` are joined besides the bot. `admins` are those of them who may change the power levels. `invited` have not
    answered yet. All three hold only what this account can see; `members_known` is false where it cannot see who is in
    the room. `how` the account came to its membership was the doing of `by`, if that is known. Rooms of a lower `layer`
    go first: chats before their Space. `still` is the membership in the closing listing, None where that listing lacks
    the room.
    """

    room_id: RoomId
    membership: Membership
    how: How = ""
    by: UserId | None = None
    name: str = ""
    space: bool = False
    layer: int = 0
    others: tuple[UserId, ...] = ()
    admins: tuple[UserId, ...] = ()
    invited: tuple[UserId, ...] = ()
    members_known: bool = True
    state: RoomState = "planned"
    still: Membership | None = None
    seen_forgotten: bool = False
    error: MatrixError | None = None

    @property
    def action(self) -> str:
        unknown = "left, kicked, banned or forgotten already: not known"
        words = unknown if self.how == "unknown" else self.how or "left earlier"
        why = f" ({words})" if self.membership == "leave" else ""
        return ACTIONS[self.membership] + why

    @property
    def left_to_nobody(self) -> bool:
        """Whether people stay behind without an administrator. False while the bot is still among them."""
        bot_is_out = self.still in (None, "leave") and self.state != "not begun"
        return bool(self.others) and not self.admins and bot_is_out

    def outcome(self) -> str:
        """Return one line of the summary, or of the progress before it."""
        words = {
            "planned": f"would {self.action}",
            "not begun": "not begun",
            "failed": "NOT DONE",
            "unverified": "UNVERIFIED",
        }
        still = f" [still listed: {self.still}]" if self.still else ""
        error = f" ({printable(str(self.error))})" if self.error else ""
        return f"{words.get(self.state, f'{self.state}, {self.action}')}: {self}{still}{error}"

    def __str__(self) -> str:
        name = f'"{printable(self.name)}" ' if self.name else ""
        company = f" with {people(self.others)}" if self.others else ""
        asked = f" inviting {people(self.invited)}" if self.invited else ""
        by = f" ({self.how} by {people([self.by])})" if self.by else ""
        return f"{'Space' if self.space else 'room'} {name}{printable(self.room_id)}{company}{asked}{by}"


@dataclass
class ServerPart:
    """The rooms, in the order of work, and what the closing listing said besides.

    `arrived` are rooms that the closing listing has and the plan lacks. `unverified_because` is the reason why there
    is no closing listing, or why it does not prove everything. `doubt` is why the survey may lack invites and left
    rooms, or have too many. `acting_s` are the seconds spent on leaving and forgetting, waits
    included.
    """

    homeserver: str
    user_id: UserId
    rooms: list[RoomStep]
    arrived: dict[RoomId, Membership] = field(default_factory=dict)
    unverified_because: str = ""
    doubt: str = ""
    acting_s: float = 0.0

    def count(self, state: RoomState) -> int:
        return sum(room.state == state for room in self.rooms)

    def progress(self) -> str:
        """Return in words how far leaving and forgetting has come."""
        return f"{self.count('acknowledged')} of {len(self.rooms)} acknowledged, {self.count('failed')} not done"

    @property
    def complete(self) -> bool:
        """Whether every room is done and confirmed, and no new one has arrived as far as could be known for certain."""
        certain = not self.unverified_because
        return certain and all(room.state == "done" for room in self.rooms) and not self.arrived


@dataclass
class Plan:
    """Both parts of a reset; None where a mode was not asked for. `notes` are facts to know before saying yes.

    `token_cure` is what a person has to do about an access token whose device loses its keys, or empty.
    `begun` is true from the first step that may change something: from then on an account is owed however the run ends.
    `ended_because` and `ended_code` are the cause and the exit code of a run that ended before its last step.
    """

    dry_run: bool
    files: list[FileStep] | None = None
    server: ServerPart | None = None
    notes: list[str] = field(default_factory=list)
    token_cure: str = ""
    begun: bool = False
    ended_because: str = ""
    ended_code: int = 1

    def end(self, because: str, exit_code: int) -> None:
        """Note that the run ends here, and which steps it has not begun. Acknowledged rooms stay acknowledged."""
        self.ended_because, self.ended_code = because, exit_code
        for room in self.server.rooms if self.server else ():
            if room.state == "planned":
                room.state = "not begun"
        for step in self.files or ():
            if step.state == "planned":
                step.state, step.error = "kept", "the run ended before"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(step.state == "planned" for step in self.files or ()) and not (self.server and self.server.rooms)

    @property
    def exit_code(self) -> int:
        if self.ended_because:
            return self.ended_code
        files_done = all(step.state not in ("failed", "kept") for step in self.files or ())
        return 0 if self.dry_run or (files_done and (self.server is None or self.server.complete)) else 1


def printable(text: str) -> str:
    """Return text that other people chose, without the control characters that could take over a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def people(users: Iterable[UserId], most: int = 4) -> str:
    """Name a few people and count the rest."""
    named = [printable(user) for user in users]
    rest = f" and {len(named) - most} more" if len(named) > most else ""
    return ", ".join(named[:most]) + rest
