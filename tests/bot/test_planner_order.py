"""Where several rules fit one room, the first in the table decides: every pair that can meet is made to meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import pytest

from greenroom_bot.rooms.planner import CONFLICTS, RULES, RoomOutcome
from greenroom_bot.rooms.records import RoomRow
from tests.bot.factory import (
    ALICE,
    CAROL,
    CHAT,
    CHAT_ROW,
    ME,
    OTHER_CHAT,
    SPACE_ROW,
    Room,
    Scene,
    alices_chat,
    alices_space,
)


@dataclass
class Case:
    """Alice's chat, in step with its row until rules are made to fit it. Version 11: there power can be lost."""

    row: RoomRow | None = CHAT_ROW
    identity: dict[str, Any] = field(default_factory=dict)
    without_identity: bool = False
    tell: list[Callable[[Room], object]] = field(default_factory=list)
    section: str = "joined"
    linked: bool = True
    others: list[Room] = field(default_factory=list)

    def verdict(self) -> RoomOutcome:
        chat = Room(CHAT, version="11").member(ALICE, "join").named("Chat 1", by=ME).power(users={ME: 100})
        chat.identity(**self.identity)
        for tell in self.tell:
            tell(chat)
        if self.without_identity:
            chat.without("dev.greenroom.chat")
        alices = alices_space().put("m.space.child", {"via": ["hs1"]} if self.linked else {}, key=CHAT)
        sections: dict[str, list[Room]] = {"joined": [alices, *self.others], "left": [], "invited": []}
        sections[self.section].append(chat)
        rows = [SPACE_ROW, *([self.row] if self.row else [])]
        return Scene(**sections, rows=rows).verdict(CHAT)

    def change_row(self, **changed: Any) -> None:
        if self.row:
            self.row = replace(self.row, **changed)


def invited(case: Case) -> None:
    case.section = "invited"
    case.tell.append(lambda chat: chat.member(ME, "invite", by=ALICE))


def kicked(case: Case) -> None:
    if case.section == "joined":
        case.section = "left"
        case.tell.append(lambda chat: chat.member(ME, "leave", by=ALICE))


def without_row(case: Case) -> None:
    case.row = None


def without_identity(case: Case) -> None:
    case.without_identity = True


FITS: dict[str, Callable[[Case], object]] = {
    "invite_pending": invited,
    "left_offline": kicked,
    "skipped": lambda case: case.identity.update(instance="staging"),
    "identity_missing": without_identity,
    "forged_identity": lambda case: case.identity.update(by=CAROL),
    "malformed_identity": lambda case: case.identity.update(request=""),
    "kind_mismatch": lambda case: case.identity.update(kind="space"),
    "duplicate_chat_id": lambda case: case.others.append(alices_chat(OTHER_CHAT, ts=1)),
    "local_mismatch": lambda case: case.change_row(owner=CAROL),
    "tombstoned": lambda case: case.tell.append(lambda chat: chat.replaced_by("!new")),
    "orphaned_no_owner": lambda case: case.tell.append(lambda chat: chat.member(ALICE, "leave")),
    "power_lost": lambda case: case.tell.append(lambda chat: chat.power(users={ME: 50})),
    "recovered": without_row,
    "registered": lambda case: case.change_row(status="conflict"),
    "archived": lambda case: case.identity.update(archived=True),
    "renamed": lambda case: case.tell.append(lambda chat: chat.named("Groceries")),
    "relinked": lambda case: setattr(case, "linked", False),
    "encrypted": lambda case: case.tell.append(lambda chat: chat.encrypted()),
}
"""How to make each rule fit. `duplicate_space` needs a Space, and `unchanged` fits only where nothing else does."""

ORDER = [kind for rule in RULES for kind in (CONFLICTS if rule == "conflict" else [rule])]
UNBELIEVED = ("identity_missing", "forged_identity", "malformed_identity")
NEVER_MEET = {
    *(("skipped", conflict) for conflict in UNBELIEVED),  # only a believed identity tells its instance
    *(("duplicate_chat_id", gone) for gone in ("tombstoned", "orphaned_no_owner")),  # only rooms in use compete
    ("local_mismatch", "recovered"),  # the one needs a row, the other needs none
}


def test_every_rule_of_the_tables_can_be_made_to_fit():
    """The tables of this test know every rule and every conflict."""
    assert {*FITS, "duplicate_space", "unchanged"} == set(ORDER)


@pytest.mark.parametrize("key", FITS)
def test_a_rule_that_fits_alone_decides(key):
    """Each way to make a rule fit leads to that rule, if it is the only one."""
    case = Case()
    FITS[key](case)

    verdict = case.verdict()

    assert (verdict.reason if verdict.outcome == "conflict" else verdict.outcome) == key


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in combinations([key for key in ORDER if key in FITS], 2) if pair not in NEVER_MEET],
)
def test_of_two_rules_that_fit_the_first_of_the_table_decides(first, second):
    """The order of `RULES`, with the conflicts in their own order, is the order of precedence."""
    case = Case()
    FITS[first](case)
    FITS[second](case)

    verdict = case.verdict()

    assert (verdict.reason if verdict.outcome == "conflict" else verdict.outcome) == first
