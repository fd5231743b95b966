"""Read how much of a blueprint exists. The server is asked; no local file is trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from greenroom.errors import MatrixRefused, Misuse
from greenroom.people.accounts import Account
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.seed.blueprint import Blueprint, RoomBlueprint
from greenroom.spelling import command

SEED_MARKER = "dev.greenroom.seed"  # state event in each seeded room; the same key marks each seeded message


@dataclass(frozen=True)
class RoomView:
    """A seeded room as its creator sees it."""

    room_id: str
    state: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    messages: frozenset[int] = frozenset()  # indexes of the blueprint's messages that exist

    def membership(self, user_id: str) -> str | None:
        """Return a user's membership, or None."""
        content = self.state.get(("m.room.member", user_id))
        return None if content is None else content.get("membership")


@dataclass(frozen=True)
class ServerView:
    """What exists: accounts by localpart, rooms by key, and `m.direct` contents by localpart."""

    people: frozenset[str] = frozenset()
    rooms: Mapping[str, RoomView] = field(default_factory=dict)
    direct: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)


MARKS_FILTER = {
    "presence": {"not_types": ["*"]},
    "account_data": {"not_types": ["*"]},
    "room": {
        "state": {"types": [SEED_MARKER]},
        "timeline": {"limit": 1},
        "ephemeral": {"not_types": ["*"]},
        "account_data": {"not_types": ["*"]},
    },
}
SEED_DEVICE = "GREENROOM_SEED"  # a fixed device, logged out afterwards, so seeding leaves no devices


async def exists(api: MatrixApi, user_id: str) -> bool:
    """Ask the server whether an account exists. No login is needed."""
    try:
        await api.call("GET", path("profile", user_id))
    except MatrixRefused as error:
        if error.status == 404:
            return False
        raise
    return True


async def log_in_everybody(
    api: MatrixApi, people: Iterable[Account], blueprint: str, start_over: str
) -> dict[str, str]:
    """Log in those people of a blueprint who exist. Return their tokens by localpart.

    Raises Misuse, with the command `start_over` as a hint, if an account exists with another password: then it does not
    belong to this blueprint.
    """

    async def log_in(person: Account) -> tuple[str, str] | None:
        if not await exists(api, person.user_id):
            return None
        try:
            return person.localpart, await api.log_in(person.user_id, person.password, SEED_DEVICE)
        except MatrixRefused as error:
            if error.errcode == "M_FORBIDDEN":
                problem = f"exists, but not with the password of blueprint {blueprint!r}"
                raise Misuse(f"{person.user_id} {problem}; to start over: {command(start_over)}") from None
            raise

    found = await asyncio.gather(*(log_in(person) for person in people))
    return dict(pair for pair in found if pair is not None)


def lists_creators(room_version: str) -> bool:
    """Return whether the creators of rooms are listed in power levels: in every version before 12."""
    return not room_version.isdecimal() or int(room_version) < 12


async def survey(api: MatrixApi, blueprint: Blueprint, server_name: str, tokens: Mapping[str, str]) -> ServerView:
    """Return accounts, seeded rooms and `m.direct`.

    A room counts only while its creator is a member. After a reset the creator has left, and nobody can complete the
    room, so a new one is created.
    """
    names = list(tokens)
    marks = await asyncio.gather(*(_marks(api, tokens[name]) for name in names))
    found = dict(pair for name, marked in zip(names, marks, strict=True) for pair in _seeded(marked, blueprint, name))
    keys = list(found)
    rooms = await asyncio.gather(*(_room(api, tokens, found[key], blueprint.room(key), blueprint) for key in keys))
    direct = await asyncio.gather(
        *(api.account_data(f"@{name}:{server_name}", "m.direct", tokens[name]) for name in names)
    )
    return ServerView(frozenset(tokens), dict(zip(keys, rooms, strict=True)), dict(zip(names, direct, strict=True)))


async def _marks(api: MatrixApi, token: str) -> dict[str, Any]:
    """Return the content of the marker in each room that an account has joined, by room id.

    One sync has nearly all of them. It may be an old one: some homeservers answer a device's second sync without a
    position as they answered the first. A room's marker never changes, so only joins and leaves can be missing, and
    `/joined_rooms` has those.
    """
    asked = {"timeout": "0", "filter": json.dumps(MARKS_FILTER)}
    sync, joined = await asyncio.gather(
        api.call("GET", path("sync"), token=token, params=asked),
        api.call("GET", path("joined_rooms"), token=token),
    )
    told = sync.get("rooms", {}).get("join", {})
    wanted = sorted(joined["joined_rooms"])
    new = [room_id for room_id in wanted if room_id not in told]
    marks = {room_id: _mark(told[room_id]) for room_id in wanted if room_id in told}
    marks |= zip(new, await asyncio.gather(*(_asked_mark(api, token, room_id) for room_id in new)), strict=True)
    return {room_id: marks[room_id] for room_id in wanted}


def _mark(room: Any) -> Any:
    events = (*room.get("state", {}).get("events", ()), *room.get("timeline", {}).get("events", ()))
    return next((event.get("content", {}) for event in events if event["type"] == SEED_MARKER), {})


async def _asked_mark(api: MatrixApi, token: str, room_id: str) -> Any:
    try:
        return await api.call("GET", path("rooms", room_id, "state", SEED_MARKER, ""), token=token)
    except MatrixRefused as error:
        if error.status in (403, 404):
            return {}
        raise


def _seeded(marks: Mapping[str, Any], blueprint: Blueprint, creator: str) -> Iterator[tuple[str, str]]:
    """Yield this blueprint's rooms by one creator, as (key, room id). Of two with one key, the last counts."""
    created = {room.key for room in blueprint.rooms if room.creator == creator}
    for room_id, mark in marks.items():
        if mark.get("blueprint") == blueprint.name and mark.get("key") in created:
            yield mark["key"], room_id


async def _room(
    api: MatrixApi, tokens: Mapping[str, str], room_id: str, room: RoomBlueprint, blueprint: Blueprint
) -> RoomView:
    """Read a room's state from `/state`: `/sync` can leave some out if events were sent at the same time."""
    token = tokens[room.creator]
    events = await api.call("GET", path("rooms", room_id, "state"), token=token)
    state = {(event["type"], event["state_key"]): event["content"] for event in events}
    messages = await _messages(api, token, room_id, blueprint) if room.messages else frozenset()
    return RoomView(room_id, state, messages)


async def _messages(api: MatrixApi, token: str, room_id: str, blueprint: Blueprint) -> frozenset[int]:
    """Return which of the blueprint's messages a room has, by the mark in their content.

    A filter only saves reading: Conduit heeds none.
    """
    found: set[int] = set()
    params = {"dir": "b", "limit": "100", "filter": json.dumps({"types": ["m.room.message"]})}
    while True:
        page = await api.call("GET", path("rooms", room_id, "messages"), token=token, params=params)
        for event in page["chunk"]:
            mark = event.get("content", {}).get(SEED_MARKER)
            if isinstance(mark, dict) and mark.get("blueprint") == blueprint.name:
                found.add(int(mark["index"]))
        if "end" not in page or not page["chunk"]:
            return frozenset(found)
        params["from"] = page["end"]
