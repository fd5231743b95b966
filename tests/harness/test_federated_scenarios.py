"""The scenarios whose owner lives elsewhere: their rules, and the homeservers on which they happen."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from greenroom.errors import Unavailable
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.choose import Choice
from greenroom.homeserver.interface import Backend, Capability
from greenroom.homeserver.kind import find_kind
from greenroom.scenarios import Verdict
from greenroom.scenarios.homes import homes_apart
from greenroom.scenarios.observed import Trouble, Why
from tests.harness.test_findings import Scene, scene, through

AWAY = "other-server-away"


def test_questions_from_before_and_during_the_absence_are_answered_once():
    """A bot may answer the late question before or after the later ones."""
    kept = scene(AWAY).asks(Why.SUBJECT, "x").asks(Why.SUBJECT, "late").says("x", "late")
    lost = scene(AWAY).asks(Why.SUBJECT, "x").asks(Why.SUBJECT, "late").says("x")
    twice = scene(AWAY).asks(Why.SUBJECT, "x").asks(Why.SUBJECT, "late").says("x", "late", "x")

    assert through(kept).verdict() == (Verdict.PASSED, "")
    assert through(lost).verdict() == (
        Verdict.FAILED,
        "'late' was never answered (1 of 2), though a later question was",
    )
    assert through(twice).verdict() == (Verdict.FAILED, "'x' was answered twice instead of once")


def test_a_bot_that_does_not_serve_an_owner_elsewhere_fails_nothing():
    """It may be meant for its own homeserver only; the sentence says how to say so."""
    one = Scene(AWAY).meets(Trouble.NEVER_ANSWERED, "waited 20 s for it to join")
    one.observed.disturbed = False

    verdict, why = one.verdict()

    assert verdict is Verdict.INCONCLUSIVE
    assert why.endswith("a bot that is not meant to promises `other-server-away: no`")


class Started:
    """A session that starts nothing, and remembers what it was asked for."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.asked: list[dict[str, Any]] = []

    @asynccontextmanager
    async def homeserver(self, settings, **how):
        self.asked.append({"room_version": settings.room_version, **how})
        yield SimpleNamespace(number=len(self.asked), can=lambda *wanted: True)


async def homes(choice: Choice, *can: Capability) -> tuple[Started, Any, Any, Any]:
    """Return a session, a homeserver with these capabilities, and the homes of a bot and of an owner elsewhere."""
    session, server = Started(choice), SimpleNamespace(can=lambda *wanted: set(can).issuperset(wanted))
    async with AsyncExitStack() as stack:
        return session, server, *await homes_apart(session, stack, server, HomeserverSettings(room_version="11"))


PROCESS = Choice(find_kind("synapse"), Backend.PROCESS, "")
CONTAINER = Choice(find_kind("synapse"), Backend.CONTAINER, "")


async def test_only_the_owner_gets_a_homeserver_if_the_bots_can_federate():
    """The bot stays on the shared homeserver, which comes to no harm."""
    session, server, bots, owners = await homes(PROCESS, Capability.FEDERATION)

    assert bots is server
    assert owners.number == 1
    assert session.asked == [{"room_version": "11", "choice": PROCESS, "federate_with": [server]}]


async def test_two_processes_stand_in_for_a_homeserver_that_cannot_federate():
    """A container cannot federate. The same kind as a process can."""
    pytest.importorskip("synapse")

    session, server, bots, owners = await homes(CONTAINER)

    assert (bots.number, owners.number) == (1, 2)
    assert [how["choice"].backend for how in session.asked] == [Backend.PROCESS, Backend.PROCESS]
    assert session.asked[1]["federate_with"] == [bots]
    assert server not in (bots, owners)


async def test_a_kind_without_processes_has_no_such_scenario():
    """No other kind stands in for the one that was chosen: there is no verdict, and the error says why."""
    with pytest.raises(Unavailable, match="conduit runs in a container only"):
        await homes(Choice(find_kind("conduit"), Backend.CONTAINER, ""))
