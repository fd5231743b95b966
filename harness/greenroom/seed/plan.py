"""Plan a seeding: a pure function of the blueprint and the server's present state. Its steps can be printed.

The steps of one wave do not depend on each other, so they run at the same time. Only the steps of one room run one
after another: events sent into a room at the same moment fork its history, and Synapse's `/sync` with a short timeline
then leaves out state that `/rooms/{id}/state` has (seen with 1.163, timeline limit 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from greenroom.seed.blueprint import Blueprint, RoomBlueprint
from greenroom.seed.blueprint_checks import all_needed, needed_first
from greenroom.seed.resolve import (
    Names,
    UnknownRoom,
    child_event,
    listed_children,
    state_by_others,
    tombstone,
    wanted_state,
)
from greenroom.seed.survey import RoomView, ServerView


@dataclass(frozen=True)
class Register:
    """Register an account."""

    wave: ClassVar[int] = 0
    person: str

    def __str__(self) -> str:
        return f"register {self.person}"


@dataclass(frozen=True)
class CreateRoom:
    """Create a room with all its state. A Space lists `children` at once: they exist by then."""

    key: str
    creator: str
    level: int  # a room refers only to rooms of lower levels
    children: tuple[str, ...] = ()

    @property
    def wave(self) -> int:
        """The wave: all rooms of one level are created at the same time."""
        return 1 + self.level

    def __str__(self) -> str:
        listing = f", listing {', '.join(self.children)}" if self.children else ""
        return f"create room {self.key} as {self.creator}{listing}"


LATER = 1000  # a wave after every level of rooms
AT_LAST = LATER + 2  # after the messages: who has left or been banned can do nothing more


@dataclass(frozen=True)
class SetState:
    """Write a state event. Its references are filled in when the step runs. A tombstone comes last."""

    key: str
    sender: str
    event: dict[str, Any]
    last: bool = False

    @property
    def wave(self) -> int:
        """The wave: that of joins and messages, or the one after them."""
        return AT_LAST if self.last else LATER

    def __str__(self) -> str:
        state_key = f" [{self.event['state_key']}]" if self.event["state_key"] else ""
        return f"set {self.event['type']}{state_key} in {self.key} as {self.sender}"


@dataclass(frozen=True)
class ListChild:
    """Add a room to a Space."""

    wave: ClassVar[int] = LATER
    key: str
    creator: str
    child: str

    def __str__(self) -> str:
        return f"list {self.child} in space {self.key} as {self.creator}"


@dataclass(frozen=True)
class Invite:
    """Invite a person who does not join, and lift a ban before."""

    wave: ClassVar[int] = LATER
    key: str
    creator: str
    person: str
    unban: bool

    def __str__(self) -> str:
        before = f"unban {self.person} and " if self.unban else ""
        return f"{before}invite {self.person} to {self.key} as {self.creator}"


@dataclass(frozen=True)
class Join:
    """Join a room as a member, first with an invite if there is none yet."""

    wave: ClassVar[int] = LATER
    key: str
    creator: str
    person: str
    invite: bool
    unban: bool = False

    def __str__(self) -> str:
        unban = f"unban {self.person}, " if self.unban else ""
        invite = f"invite {self.person} and " if self.invite else ""
        return f"{unban}{invite}join {self.key} as {self.person}"


@dataclass(frozen=True)
class Leave:
    """Leave a room, after having been in it."""

    wave: ClassVar[int] = AT_LAST
    key: str
    person: str

    def __str__(self) -> str:
        return f"leave {self.key} as {self.person}"


@dataclass(frozen=True)
class Ban:
    """Ban a person from a room."""

    wave: ClassVar[int] = AT_LAST
    key: str
    creator: str
    person: str

    def __str__(self) -> str:
        return f"ban {self.person} from {self.key} as {self.creator}"


@dataclass(frozen=True)
class RecordDirect:
    """Add direct rooms to a person's `m.direct`."""

    wave: ClassVar[int] = LATER
    person: str
    rooms: tuple[tuple[str, str], ...]  # (counterpart, room key)

    def __str__(self) -> str:
        return f"record direct room(s) {', '.join(key for _, key in self.rooms)} for {self.person}"


@dataclass(frozen=True)
class Say:
    """Send a room's missing messages, in order."""

    wave: ClassVar[int] = LATER + 1
    key: str
    indexes: tuple[int, ...]

    def __str__(self) -> str:
        return f"send {len(self.indexes)} message(s) in {self.key}"


Step = Register | CreateRoom | SetState | ListChild | Invite | Join | Leave | Ban | RecordDirect | Say


@dataclass(frozen=True)
class Plan:
    """The steps of a seeding, in order."""

    steps: tuple[Step, ...]

    def waves(self) -> Iterator[list[list[Step]]]:
        """Yield the waves in order. A wave is a list of lanes; the steps of a lane run one after another."""
        for wave in sorted({step.wave for step in self.steps}):
            lanes: dict[object, list[Step]] = {}
            for step in self.steps:
                if step.wave == wave:
                    lanes.setdefault(getattr(step, "key", step), []).append(step)
            yield list(lanes.values())

    def lines(self) -> list[str]:
        """Return the steps as lines for people to read."""
        return [str(step) for step in self.steps] or ["nothing to do: everything is there"]


def make_plan(blueprint: Blueprint, view: ServerView, server_name: str) -> Plan:
    """Return the steps that are missing for a blueprint. An existing room is completed, never replaced."""
    names = Names(server_name, {key: room.room_id for key, room in view.rooms.items()})
    steps: list[Step] = [Register(person.name) for person in blueprint.people if person.name not in view.people]
    levels = _levels(blueprint)
    for room in blueprint.rooms:
        there = view.rooms.get(room.key)
        if there is None:
            steps += _make(blueprint, room, view, levels)
        else:
            steps += _complete(blueprint, room, there, names)
    steps += _directs(blueprint, view, names)
    return Plan(tuple(sorted(steps, key=lambda step: step.wave)))  # stable: blueprint order within a wave


def _make(blueprint: Blueprint, room: RoomBlueprint, view: ServerView, levels: dict[str, int]) -> Iterator[Step]:
    listed = listed_children(blueprint, room)
    # A child that refers to its Space is created later, and the Space lists it with a request of its own. Synapse
    # handles those one after another (29 a second), so the Space's createRoom lists all other children.
    first = tuple(key for key in listed if key in view.rooms or levels[key] < levels[room.key])
    yield CreateRoom(room.key, room.creator, levels[room.key], first)
    yield from (ListChild(room.key, room.creator, key) for key in listed if key not in first)
    yield from (Join(room.key, room.creator, name, invite=False) for name in room.joining)
    yield from (SetState(room.key, sender, event) for sender, event in state_by_others(room))
    if room.messages:
        yield Say(room.key, tuple(range(len(room.messages))))
    if end := tombstone(room):
        yield SetState(room.key, room.creator, end, last=True)
    yield from (Leave(room.key, name) for name in room.left)
    yield from (Ban(room.key, room.creator, name) for name in room.banned)


def _complete(blueprint: Blueprint, room: RoomBlueprint, there: RoomView, names: Names) -> Iterator[Step]:
    membership = {name: there.membership(names.user(name)) for name in (*room.joining, *room.invited)}
    gone = {name for name in (*room.left, *room.banned) if membership[name] in ("leave", "ban")}
    for sender, event, last in _wanted(room):
        filled = _filled(event, names)
        there_is = filled and there.state.get((filled["type"], filled["state_key"])) == filled["content"]
        if not there_is and sender not in gone:
            yield SetState(room.key, sender, event, last)
    for key in listed_children(blueprint, room):
        try:
            entry = there.state.get(("m.space.child", child_event(names, key)["state_key"]), {})
        except UnknownRoom:
            entry = {}
        if not entry.get("via"):
            yield ListChild(room.key, room.creator, key)
    yield from _memberships(room, membership)
    if missing := tuple(
        i for i, message in enumerate(room.messages) if i not in there.messages and message.sender not in gone
    ):
        yield Say(room.key, missing)


def _memberships(room: RoomBlueprint, now: Mapping[str, str | None]) -> Iterator[Step]:
    """Yield what brings people from their membership now to the one of the blueprint."""
    stay_out = {name for name in (*room.left, *room.banned) if now[name] in ("leave", "ban")}
    for name in room.joining:
        if now[name] != "join" and name not in stay_out:
            yield Join(room.key, room.creator, name, invite=now[name] != "invite", unban=now[name] == "ban")
    for name in room.invited:
        if now[name] not in ("join", "invite"):
            yield Invite(room.key, room.creator, name, unban=now[name] == "ban")
    yield from (Leave(room.key, name) for name in room.left if name not in stay_out)
    yield from (Ban(room.key, room.creator, name) for name in room.banned if now[name] != "ban")


def _wanted(room: RoomBlueprint) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield a room's state events, as (sender, event, whether it comes last). References are not filled in."""
    yield from ((room.creator, event, False) for event in wanted_state(room))
    for kind, field, value in (("m.room.name", "name", room.name), ("m.room.topic", "topic", room.topic)):
        if value is not None:
            yield room.creator, {"type": kind, "state_key": "", "content": {field: value}}, False
    yield from ((sender, event, False) for sender, event in state_by_others(room))
    if end := tombstone(room):
        yield room.creator, end, True


def _filled(event: dict[str, Any], names: Names) -> dict[str, Any] | None:
    """Return an event with its references filled in, or None if one is to a room that does not exist yet."""
    try:
        filled: dict[str, Any] = names.fill(event)
    except UnknownRoom:
        return None
    return filled


def _directs(blueprint: Blueprint, view: ServerView, names: Names) -> Iterator[RecordDirect]:
    wanted: dict[str, list[tuple[str, str]]] = {}
    for room in blueprint.rooms:
        if not room.direct:
            continue
        people = [room.creator, *room.joining]
        for person in people:
            for other in (*people, *room.invited):
                known = view.direct.get(person, {}).get(names.user(other), [])
                if other != person and not (room.key in view.rooms and view.rooms[room.key].room_id in known):
                    wanted.setdefault(person, []).append((other, room.key))
    yield from (RecordDirect(person, tuple(rooms)) for person, rooms in wanted.items())


def _levels(blueprint: Blueprint) -> dict[str, int]:
    """Return each room's level: above all rooms that it needs. A Space is also above children that do not need it."""
    needs = {key: set(needed) for key, needed in needed_first(blueprint).items()}
    for space in (room for room in blueprint.rooms if room.space):
        for key in listed_children(blueprint, space):
            if key != space.key and space.key not in all_needed(key, needs):
                needs[space.key].add(key)
    levels: dict[str, int] = {}

    def level(key: str) -> int:
        if key not in levels:
            levels[key] = 1 + max((level(needed) for needed in needs[key]), default=-1)
        return levels[key]

    return {room.key: level(room.key) for room in blueprint.rooms}
