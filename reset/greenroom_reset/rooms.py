"""The rooms of the account on the server, and the steps that they make."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greenroom_bot.matrix.client import Client
from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_bot.matrix.picture import is_current, own_filter
from greenroom_reset.pace import Pace
from greenroom_reset.plan import How, Membership, RoomStep

SYNC_TIMEOUT_S = 600.0
_FACTS = ("m.room.create", "m.room.power_levels", "m.room.member", "m.room.name", "m.space.child")

# (type, state_key) -> event
State = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Listing:
    """Every room that the account is in, is invited to, knocks at, or has left and not forgotten, with its state.

    `unseen` are rooms that `joined_rooms` names and the full sync lacks. Then the sync may lack other rooms too, and
    only the sync lists invites, knocks and rooms that were left. `ghosts` are rooms that the sync calls joined and
    `joined_rooms` lacks. `current` is false where the sync may be an old picture; then `doubtful` rooms have their
    membership from that picture only.
    """

    memberships: Mapping[RoomId, Membership]
    states: Mapping[RoomId, State]
    unseen: frozenset[RoomId] = frozenset()
    ghosts: frozenset[RoomId] = frozenset()
    current: bool = True
    doubtful: frozenset[RoomId] = frozenset()

    @property
    def contradiction(self) -> str:
        """What is wrong with the listing, in words, or nothing."""
        lacks = f"the full sync lacks {_rooms(self.unseen)} of joined_rooms" if self.unseen else ""
        more = f"the full sync names {_rooms(self.ghosts)} that joined_rooms lacks" if self.ghosts else ""
        both = " and ".join(filter(None, (lacks, more)))
        return both and f"{both}, so it may lack others too"


def _rooms(rooms: frozenset[RoomId]) -> str:
    return f"{len(rooms)} room{'s' * (len(rooms) != 1)}"


async def list_rooms(client: Client, pace: Pace, *, new_device: bool = False) -> Listing:
    """Ask `joined_rooms` and a tokenless sync that includes left rooms. Raises MatrixError.

    An answer that lacks a required key (a proxy's `{}`), or has a value of another shape where rooms could be missing
    from it, counts as an error. What describes a room may be odd: its id and its section are enough to leave it.

    `new_device`: the client's device has not synced before, so that no cache can have an answer for it.
    """
    nothing: dict[str, Any] = {"types": []}
    wanted = {
        "room": {
            "include_leave": True,
            "state": {"types": [*_FACTS]},
            # Without a timeline the state is the current one, and Synapse needs a third of the time. Servers have bugs
            # with limit 0.
            "timeline": {"types": [], "limit": 1},
            "ephemeral": nothing,
            "account_data": nothing,
        },
        "presence": nothing,
        "account_data": nothing,
    }
    asked = json.dumps(own_filter(wanted), separators=(",", ":"))
    query = {"timeout": "0", "full_state": "true", "filter": asked}
    joined = await joined_rooms(client, pace)
    sync = await pace.send(lambda: client.request("GET", "sync", query=query, timeout_s=SYNC_TIMEOUT_S))
    if not isinstance(sync.get("next_batch"), str):
        raise _odd("the answer is no list of rooms")
    sections = _object(sync, "rooms")
    memberships: dict[RoomId, Membership] = {}
    states: dict[RoomId, State] = {}
    for membership in ("leave", "knock", "invite", "join"):
        for room_id, room in _object(sections, membership).items():
            memberships[room_id] = membership
            states[room_id] = state_of(_events(room, ("state", "timeline", f"{membership}_state")))
    in_sync = frozenset(room_id for room_id, membership in memberships.items() if membership == "join")
    if in_sync - joined:  # joined between both questions, perhaps
        joined |= await joined_rooms(client, pace)
    return Listing(
        memberships | dict.fromkeys(joined, "join"),
        states,
        unseen=joined - memberships.keys(),
        ghosts=in_sync - joined,
        current=new_device or await is_current(client, sync, pace.send),
    )


async def joined_rooms(client: Client, pace: Pace) -> frozenset[RoomId]:
    """Ask which rooms the account is in. No homeserver is known to answer this from a cache. Raises MatrixError."""
    joined = (await pace.send(lambda: client.request("GET", "joined_rooms"))).get("joined_rooms")
    if not (isinstance(joined, list) and all(isinstance(room_id, str) for room_id in joined)):
        raise _odd("the answer is no list of room ids")
    return frozenset(joined)


def _object(answer: Mapping[str, Any], key: str) -> dict[Any, Any]:
    value = answer.get(key, {})
    if not isinstance(value, dict):
        raise _odd(f"{key} is no object")
    return value


def _odd(cause: str) -> MatrixError:
    return MatrixError("GET", "joined_rooms and sync", status=200, cause=cause)


def _events(room: Any, parts: Iterable[str]) -> Iterator[object]:
    for part in parts if isinstance(room, dict) else ():
        events = room[part].get("events") if isinstance(room.get(part), dict) else None
        yield from events if isinstance(events, list) else ()


async def forgets_on_leave(client: Client, pace: Pace) -> bool:
    """Return whether the server forgets a room by itself when the account leaves it. A server that does not say so does
    not. Raises MatrixError where the server cannot be asked.

    This is the first request after the confirmation. The server may have closed our connection meanwhile, so a request
    without an answer is sent again.
    """
    answer: Any = None
    for last_attempt in (False, True):
        try:
            answer = await pace.send(lambda: client.request("GET", "capabilities"))
            break
        except MatrixError as error:
            if error.status is not None and error.definite:
                break
            if error.status is not None or last_attempt:
                raise
    for key in ("capabilities", "m.forget_forced_upon_leave", "enabled"):
        answer = answer.get(key) if isinstance(answer, dict) else None
    return answer is True


def plan_rooms(listing: Listing, me: UserId) -> list[RoomStep]:
    """Turn a listing into steps: chats before the Space they are in, otherwise in a fixed order."""
    steps = [
        _room_step(room_id, membership, listing.states.get(room_id, {}), me)
        for room_id, membership in listing.memberships.items()
    ]
    layers = _layers({step.room_id: _children(listing.states.get(step.room_id, {})) for step in steps if step.space})
    for step in steps:
        step.layer = layers.get(step.room_id, 0)
    return sorted(steps, key=lambda step: (step.layer, step.name, step.room_id))


def state_of(events: Iterable[Any]) -> State:
    """Return the well-formed state events. The homeserver does not check those of an invite, which strangers send."""
    kinds = {"type": str, "state_key": str, "content": dict}
    sound = (e for e in events if isinstance(e, dict) and all(isinstance(e.get(k), t) for k, t in kinds.items()))
    return {(e["type"], e["state_key"]): e for e in sound}


def _room_step(room_id: RoomId, membership: Membership, state: State, me: UserId) -> RoomStep:
    members = {
        UserId(user): event["content"].get("membership")
        for (kind, user), event in sorted(state.items())
        if kind == "m.room.member" and user != me
    }
    others = tuple(user for user, their in members.items() if their == "join")
    how, by = _how(membership, state, me)
    name = _content(state, "m.room.name").get("name")
    return RoomStep(
        room_id,
        membership,
        how=how,
        by=by,
        name=name if isinstance(name, str) else "",
        space=_content(state, "m.room.create").get("type") == "m.space",
        others=others,
        admins=_admins(others, state),
        invited=tuple(user for user, their in members.items() if their == "invite"),
        # Somebody who was only asked, or who asks, is told the room's name and no list of its members.
        members_known=membership in ("join", "leave") and any(kind == "m.room.member" for kind, _ in state),
    )


def _how(membership: Membership, state: State, me: UserId) -> tuple[How, UserId | None]:
    """Return how the account came to its membership, and who did that; for a knock, who made the room.

    A withdrawn invite and a refused knock count as kicks: the state does not tell them apart.
    """
    own, create = state.get(("m.room.member", me), {}), state.get(("m.room.create", ""), {})
    sender = own.get("sender")
    how: How = ""
    if membership == "invite":
        how = "invited"
    elif membership == "knock":
        how, sender = "made", create.get("sender")
    elif membership == "leave" and not own:
        how = "unknown"
    elif membership == "leave" and own["content"].get("membership") == "ban":
        how = "banned"
    elif membership == "leave" and sender != me:
        how = "kicked"
    return how, UserId(sender) if how and isinstance(sender, str) else None


def _admins(users: tuple[UserId, ...], state: State) -> tuple[UserId, ...]:
    """Return who may change the power levels: nobody that we know of where the events make no sense.

    From room version 12 on creators stand above all levels.
    """
    create, power = _content(state, "m.room.create"), _content(state, "m.room.power_levels")
    version = str(create.get("room_version", "1"))
    if ("m.room.power_levels", "") not in state:
        return users  # without the event everybody may write state
    try:
        creators = []
        if create and version.isdecimal() and int(version) >= 12:
            creators = [state["m.room.create", ""].get("sender"), *create.get("additional_creators", [])]
        needed = int(power.get("events", {}).get("m.room.power_levels", power.get("state_default", 50)))
        levels, default = power.get("users", {}), power.get("users_default", 0)
        return tuple(user for user in users if user in creators or int(levels.get(user, default)) >= needed)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return ()


def _children(state: State) -> set[str]:
    return {key for (kind, key), event in state.items() if kind == "m.space.child" and event["content"].get("via")}


def _layers(children: Mapping[RoomId, set[str]]) -> dict[RoomId, int]:
    """Return 1 for a Space of rooms, 2 for a Space of such Spaces, and so on. A ring of Spaces gets some numbers."""
    layers = dict.fromkeys(children, 1)
    for _ in children:
        raised = {s: 1 + max((layers[c] for c in layers if c in children[s] and c != s), default=0) for s in layers}
        if raised == layers:
            break
        layers = raised
    return layers


def _content(state: State, kind: str) -> Mapping[str, Any]:
    event = state.get((kind, ""))
    return event["content"] if event else {}
