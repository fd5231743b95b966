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
    "account_data": {"types": ["m.direct"]},
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
    syncs = await asyncio.gather(*(_snapshot(api, tokens[name]) for name in names))
    found = dict(pair for name, sync in zip(names, syncs, strict=True) for pair in _seeded(sync, blueprint, name))
    keys = list(found)
    rooms = await asyncio.gather(*(_room(api, tokens, found[key], blueprint.room(key), blueprint) for key in keys))
    direct = {name: _direct(sync) for name, sync in zip(names, syncs, strict=True)}
    return ServerView(frozenset(tokens), dict(zip(keys, rooms, strict=True)), direct)


async def _snapshot(api: MatrixApi, token: str) -> Any:
    return await api.call("GET", path("sync"), token=token, params={"timeout": "0", "filter": json.dumps(MARKS_FILTER)})


def _seeded(sync: Any, blueprint: Blueprint, creator: str) -> Iterator[tuple[str, str]]:
    """Yield this blueprint's rooms by one creator, as (key, room id). Of two with one key, the last counts."""
    created = {room.key for room in blueprint.rooms if room.creator == creator}
    for room_id, room in sorted(sync.get("rooms", {}).get("join", {}).items()):
        for event in (*room.get("state", {}).get("events", ()), *room.get("timeline", {}).get("events", ())):
            if event["type"] != SEED_MARKER:
                continue
            mark = event.get("content", {})
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


def _direct(sync: Any) -> dict[str, list[str]]:
    for event in sync.get("account_data", {}).get("events", ()):
        if event["type"] == "m.direct":
            return dict(event["content"])
    return {}


async def _messages(api: MatrixApi, token: str, room_id: str, blueprint: Blueprint) -> frozenset[int]:
    """Return which of the blueprint's messages a room has, by the mark in their content."""
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
