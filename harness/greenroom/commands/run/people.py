"""The people of `greenroom run`: named ones, and those of a blueprint, all logged in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from greenroom.errors import Misuse
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.accounts import LOCALPART, Account, log_in, register
from greenroom.people.matrix_api import MatrixApi
from greenroom.seed.blueprint import Blueprint

USUAL_PEOPLE = ("alice", "bob", "bot")
LOGINS_AT_ONCE = 8  # checking a password is work for the homeserver's one core


@dataclass(frozen=True)
class Peopled:
    """Accounts with access tokens, and the rooms of a blueprint: key -> room id."""

    people: tuple[Account, ...]
    rooms: dict[str, str] = field(default_factory=dict)


def names_of(persons: Sequence[str], blueprint: Blueprint | None) -> tuple[str, ...]:
    """Return the localparts of the people to register, without those of the blueprint. Raises Misuse."""
    for name in persons:
        if not LOCALPART.match(name):
            raise Misuse(f"--person {name!r}: a name has small letters, digits and . _ = - / + only")
    seeded = {person.name for person in blueprint.people} if blueprint else set()
    named = persons or (() if blueprint else USUAL_PEOPLE)
    return tuple(name for name in dict.fromkeys(named) if name not in seeded)


async def settle(server: RunningHomeserver, names: Sequence[str]) -> Peopled:
    """Log in the people of the server's blueprint, if it has one, and register those of `names`."""
    people = await _logged_in(server, server.seeded.people) if server.is_seeded else []
    people += [await register(server, name) for name in names]
    return Peopled(tuple(people), server.seeded.rooms if server.is_seeded else {})


async def _logged_in(server: RunningHomeserver, people: Sequence[Account]) -> list[Account]:
    gate = asyncio.Semaphore(LOGINS_AT_ONCE)
    async with MatrixApi(server.url) as api:

        async def in_turn(person: Account) -> Account:
            async with gate:
                return await log_in(api, person)

        return list(await asyncio.gather(*map(in_turn, people)))
