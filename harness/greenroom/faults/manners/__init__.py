"""Manners: how other homeservers differ from Synapse, as rules of the proxy in front of a Synapse.

So a bot, and everything here, is rehearsed against a homeserver that this machine does not have. The rules were
measured on a Conduit (0.11.0-alpha), or read in tuwunel's issues. `strict` is a homeserver that does nothing that the
specification does not promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType

from greenroom.errors import Misuse
from greenroom.faults.manners import requests, syncing
from greenroom.faults.manners.manner import SPEC, Manner

MANNERS: dict[str, type[Manner]] = {
    manner.name: manner
    for manner in (
        requests.NoAdminApi,
        requests.NoRateLimits,
        requests.JoinNeedsABody,
        requests.NoLogoutEverywhere,
        requests.LoginWithoutAToken,
        requests.LeavingSaysYes,
        requests.MessagesHeedNothing,
        requests.AlikeRoomsAreOne,
        syncing.WokenWithNothing,
        syncing.PictureFromACache,
        syncing.ToldTwice,
        syncing.MembersRepeated,
        syncing.OwnJoinInState,
        syncing.NewRoomsWithoutState,
        syncing.LeftRoomsWithoutState,
        syncing.LeftRoomsAlways,
        syncing.EmptyTimelinesLoseState,
        syncing.NewsAtTheEnd,
        syncing.PositionsAccepted,
        syncing.TimelinesOfTen,
        syncing.NoStateAfter,
        syncing.QuietRoomsLeftOut,
    )
}
"""All rules. The first stands nearest to the client: it changes what those after it answer."""

TUWUNEL = ("no-admin-api", "quiet-rooms-left-out", "empty-timelines-lose-state", "left-rooms-without-state")
SETS: dict[str, tuple[str, ...]] = {
    "conduit": tuple(name for name in MANNERS if name not in ("quiet-rooms-left-out", "empty-timelines-lose-state")),
    "tuwunel": TUWUNEL,
    "strict": (
        "no-admin-api",
        "alike-rooms-are-one",
        "woken-with-nothing",
        "members-repeated",
        "own-join-in-state",
        "left-rooms-without-state",
        "timelines-of-ten",
        "no-state-after",
    ),
}
"""Name of a homeserver -> its manners."""


class Manners:
    """Manners in force. They end with their `with` block."""

    def __init__(self, rules: Iterable[Manner], *, end: Callable[[], None]) -> None:
        self.names = tuple(rule.name for rule in rules)
        self.end = end

    def __enter__(self) -> Manners:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def parse_manners(text: str) -> tuple[str, ...]:
    """Return the names in a list such as "conduit" or "told-twice,no-admin-api". Raises Misuse for an unknown one."""
    names = tuple(name for part in text.split(",") if (name := part.strip()))
    names_of(names)
    return names


def names_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the rules for names of rules and of sets. Raises Misuse for a name that does not exist."""
    wanted: set[str] = set()
    for name in names:
        if name not in SETS and name not in MANNERS:
            raise Misuse(f"no such manners: {name!r}; there are {', '.join([*SETS, *MANNERS])}")
        wanted.update(SETS.get(name, (name,)))
    return tuple(name for name in MANNERS if name in wanted)


def chosen_manners(names: Iterable[str]) -> tuple[Manner, ...]:
    """Return new rules for names of rules and of sets. Raises Misuse for a name that does not exist."""
    return tuple(MANNERS[name]() for name in names_of(names))


__all__ = ["MANNERS", "SETS", "SPEC", "Manner", "Manners", "chosen_manners", "names_of", "parse_manners"]
