"""What a reset is about to do, as data: printed in a dry run and in earnest alike, then carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenroom_bot.matrix.ids import RoomId, UserId

Membership = Literal["join", "invite", "knock", "leave"]
ACTIONS: dict[Membership, str] = {
    "join": "leave and forget",
    "invite": "decline and forget",
    "knock": "withdraw and forget",
    "leave": "forget (left earlier)",
}


@dataclass(frozen=True)
class FileStep:
    """One path of the bot's local state. Steps are carried out in order, a directory after its files."""

    path: Path
    what: Literal["database", "side file", "store file", "store directory"]
    present: bool


@dataclass(frozen=True)
class RoomStep:
    """One room that the account is in, invited to, or has left without forgetting.

    ``others`` are joined besides the bot, ``admins`` those of them who could change its power levels, ``invited`` have
    yet to answer; all as far as this account can see. Rooms of a lower ``layer`` go first: chats before their Space.
    """

    room_id: RoomId
    membership: Membership
    name: str = ""
    space: bool = False
    layer: int = 0
    others: tuple[UserId, ...] = ()
    admins: tuple[UserId, ...] = ()
    invited: tuple[UserId, ...] = ()

    @property
    def unadministered(self) -> bool:
        """Whether people stay behind of whom nobody can administer the room."""
        return bool(self.others) and not self.admins

    def __str__(self) -> str:
        name = f'"{printable(self.name)}" ' if self.name else ""
        company = f" with {people(self.others)}" if self.others else ""
        asked = f" inviting {people(self.invited)}" if self.invited else ""
        return f"{'Space' if self.space else 'room'} {name}{printable(self.room_id)}{company}{asked}"


@dataclass(frozen=True)
class ServerPlan:
    """``rooms`` in the order of work; ``earlier`` were finished by an interrupted run, says its journal."""

    homeserver: str
    user_id: UserId
    rooms: tuple[RoomStep, ...]
    earlier: tuple[RoomStep, ...] = ()


@dataclass(frozen=True)
class Plan:
    """None where a mode was not asked for. ``notes`` are what a person should know before saying yes."""

    files: tuple[FileStep, ...] | None
    server: ServerPlan | None
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(step.present for step in self.files or ()) and not (self.server and self.server.rooms)

    def lines(self) -> Iterator[str]:
        """Print the plan, server first as it is carried out."""
        yield "Plan of a development reset (never for production accounts)"
        if self.server:
            yield f"Server {self.server.homeserver} as {self.server.user_id}: {len(self.server.rooms)} to do"
            yield from (f"  {ACTIONS[step.membership]}: {step}" for step in self.server.rooms)
            yield from (f"  done by the interrupted run: {step}" for step in self.server.earlier)
        if self.files is not None:
            yield f"Local files: {sum(step.present for step in self.files)} to delete"
            yield from (f"  {'delete' if f.present else 'already absent'}: {f.what} {f.path}" for f in self.files)
        yield from (f"Note: {note}" for note in self.notes)


def printable(text: str) -> str:
    """Return text that other people chose without the control characters that could take over a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def people(users: Iterable[UserId], most: int = 4) -> str:
    """Name a few people and count the rest."""
    named = [printable(user) for user in users]
    rest = f" and {len(named) - most} more" if len(named) > most else ""
    return ", ".join(named[:most]) + rest
