"""What a scenario is: one disturbance, the rules for what a bot does then, and the bots that it suits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from greenroom.errors import Misuse
from greenroom.scenarios.findings import Rule
from greenroom.scenarios.observed import Observed
from greenroom.scenarios.promises import NOT_PROMISED, YES, BotPromises
from greenroom.scenarios.stage import Stage

Act = Callable[[Stage], Awaitable[None]]
Warns = Callable[[Observed], Iterator[str]]


@dataclass(frozen=True)
class Suits:
    """The bots that a scenario is for. `says` names what their promises have, as in "`encrypted: yes`"."""

    says: str
    holds: Callable[[BotPromises], bool]


def nothing_to_warn_of(observed: Observed) -> Iterator[str]:
    """Yield no warning."""
    return iter(())


EVERY_BOT = Suits("any bot", lambda promises: True)
CLIENTS = Suits("a bot that syncs", lambda promises: not promises.is_appservice)


@dataclass(frozen=True)
class Scenario:
    """A scenario. `ways`: what a bot can promise, first the way that `yes` means."""

    name: str
    summary: str
    act: Act
    rule: Rule
    ways: tuple[str, ...] = (YES,)
    own_server: bool = False
    owner_elsewhere: bool = False  # the owner lives on a homeserver that federates with the bot's
    always: bool = False  # promised by every bot that is tried
    suits: Suits = EVERY_BOT
    warns: Warns = nothing_to_warn_of  # of what was seen and breaks no promise

    def way_of(self, promises: BotPromises) -> str | None:
        """Return the way that a bot promises, NOT_PROMISED, or None if it says nothing. Raises Misuse for any other."""
        if not self.suits.holds(promises):
            if promises.promises.get(self.name, NOT_PROMISED) != NOT_PROMISED:
                raise Misuse(f"{self.name} is only for {self.suits.says}")
            return NOT_PROMISED
        value = promises.promised(self.name) or (YES if self.always else None)
        if value in (None, NOT_PROMISED, *self.ways):
            return value
        if value == YES:
            return self.ways[0]
        allowed = dict.fromkeys((YES, *self.ways, "no"))
        raise Misuse(f"{self.name} cannot be {value!r}; it can be {', '.join(allowed)}")


CATALOGUE: dict[str, Scenario] = {}


def find_scenario(name: str) -> Scenario:
    """Return a scenario. Raises Misuse, with the names that exist, if there is none of that name."""
    if name not in CATALOGUE:
        raise Misuse(f"there is no scenario {name!r}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def scenarios_for(promises: BotPromises, only: Iterable[str] = ()) -> list[Scenario]:
    """Return the scenarios that suit a bot, or of these `only` some, in the catalogue's order.

    Raises Misuse for a name that does not exist, and for a scenario that does not suit the bot.
    """
    chosen = [find_scenario(name) for name in only]
    for scenario in chosen:
        if not scenario.suits.holds(promises):
            raise Misuse(f"{scenario.name} is only for {scenario.suits.says}")
    suitable = [scenario for scenario in CATALOGUE.values() if scenario.suits.holds(promises)]
    return [scenario for scenario in suitable if not chosen or scenario in chosen]


def scenario(
    name: str,
    *ways: str,
    rule: Rule,
    own_server: bool = False,
    owner_elsewhere: bool = False,
    always: bool = False,
    suits: Suits = EVERY_BOT,
    warns: Warns = nothing_to_warn_of,
) -> Callable[[Act], Act]:
    """Add a function to the catalogue. The first line of its docstring becomes the summary."""

    def enter(act: Act) -> Act:
        summary = (act.__doc__ or "").strip().splitlines()[0]
        elsewhere, known_ways = owner_elsewhere, ways or (YES,)
        CATALOGUE[name] = Scenario(name, summary, act, rule, known_ways, own_server, elsewhere, always, suits, warns)
        return act

    return enter
