"""A picture of the account's rooms that is no older than the question, or that says what may be old in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from greenroom_bot.config import Config
from greenroom_bot.matrix.client import Client, room_states
from greenroom_bot.matrix.errors import BotError, MatrixError
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_bot.matrix.picture import NOT_CURRENT
from greenroom_reset.account import new_device
from greenroom_reset.pace import Pace
from greenroom_reset.plan import Membership
from greenroom_reset.rooms import Listing, State, list_rooms, state_of

AT_ONCE = 16
OUT: tuple[str, ...] = ("leave", "ban")


class Look:
    """Lists the rooms of an account, each time anew.

    A sync of the client's own device costs least, and shows by itself whether it is current. If it may be old, each
    picture is taken by a device made for it, for which the homeserver's cache has nothing. Without a password there is
    no such device: then every room is asked about singly, and what only a sync tells stays in doubt.
    """

    def __init__(self, client: Client, config: Config, pace: Pace, warn: Callable[[str], None]) -> None:
        self._client, self._config, self._pace, self._warn = client, config, pace, warn
        self._own_is_current = True

    async def rooms(self) -> Listing:
        """Return the listing with the states that the sync left out. Raises MatrixError or SessionOver."""
        return await completed(self._client, self._pace, await self._listing(), UserId(self._config.user_id))

    async def _listing(self) -> Listing:
        if self._own_is_current or not self._config.password:
            listing = await list_rooms(self._client, self._pace)
            self._own_is_current = listing.current
            if listing.current or not self._config.password:
                return listing
        try:
            async with new_device(self._config, self._pace, self._warn) as device:
                return await list_rooms(device, self._pace, new_device=True)
        except BotError as error:
            self._warn(f"no device could take a new picture of the rooms ({error})")
        return await list_rooms(self._client, self._pace)


def doubt(listing: Listing, *, password: bool) -> str:
    """Return in words what the listing cannot tell, empty if nothing."""
    return (
        "" if listing.current else NOT_CURRENT + ("" if password else "; with MATRIX_PASSWORD a new device could ask")
    )


async def completed(client: Client, pace: Pace, listing: Listing, me: UserId) -> Listing:
    """Read the state of the rooms of which the sync does not tell enough. Raises SessionOver.

    These are rooms that it lacks, left rooms without the account's own membership, and all rooms if it may be old.
    `/rooms/{id}/state` has the current state, and for a room that was left the state at that time.
    """
    read = await _read(client, pace, sorted(_open_questions(listing, me)))
    memberships, states = dict(listing.memberships), dict(listing.states)
    doubtful: set[RoomId] = set()
    for room_id, state in read.items():
        if state is not None:
            states[room_id] = state
        if memberships[room_id] == "join" and room_id not in listing.ghosts:
            continue  # `joined_rooms` says so
        own = membership_of(state, me) if state is not None else ""
        if own in OUT:
            memberships[room_id] = "leave"
        elif own != "join" and (not listing.current or room_id in listing.ghosts):
            doubtful.add(room_id)
            memberships[room_id] = _outside(memberships[room_id])
            if memberships[room_id] == "leave":
                known = states.get(room_id, {}).items()
                states[room_id] = {key: event for key, event in known if key != ("m.room.member", me)}
    return replace(listing, memberships=memberships, states=states, doubtful=frozenset(doubtful))


def membership_of(state: State, me: UserId) -> str:
    """Return the account's own membership in a room's state, empty if the state does not have it."""
    own = state.get(("m.room.member", me))
    return str(own["content"].get("membership", "")) if own else ""


async def reads_as_left(client: Client, room_id: RoomId, me: UserId) -> bool | None:
    """Return whether the account can still read a room that it has left. None: no answer, or one that does not tell.

    A forgotten room is refused. So is, by some homeservers, every room that was left. Raises MatrixError for a rate
    limit, and SessionOver.
    """
    try:
        return membership_of(state_of(await client.room_state(room_id)), me) in OUT or None
    except MatrixError as error:
        if error.rate_limited:
            raise
        return False if error.status in (403, 404) and error.definite else None


def _open_questions(listing: Listing, me: UserId) -> Iterable[RoomId]:
    for room_id, membership in listing.memberships.items():
        state = listing.states.get(room_id, {})
        without_own = membership == "leave" and not membership_of(state, me)
        if not listing.current or room_id in listing.unseen | listing.ghosts or without_own:
            yield room_id


def _outside(membership: Membership) -> Membership:
    """Return the membership of a room that the account is not in: a room that was joined counts as left."""
    return "leave" if membership == "join" else membership


async def _read(client: Client, pace: Pace, rooms: list[RoomId]) -> dict[RoomId, State | None]:
    async def ask(room_id: RoomId) -> list[dict[str, Any]]:
        return await pace.send(lambda: client.room_state(room_id))

    states = await room_states(rooms, ask, at_once=AT_ONCE)
    return {room_id: None if events is None else state_of(events) for room_id, events in states.items()}
