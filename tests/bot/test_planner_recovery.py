"""Rows that were lost, never written, or marked: how the planner makes them whole again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bot.decides import decides
from tests.bot.factory import (
    CHAT,
    CHAT_ROW,
    SPACE_ROW,
    alices_chat,
    alices_space,
    in_step,
)


@decides("recovered")
def test_a_lost_row_is_rebuilt_from_the_identity():
    """The rebuilt row equals the lost row in every field."""
    verdict = in_step(rows=[SPACE_ROW]).verdict(CHAT)

    assert verdict.row == CHAT_ROW
    return verdict


def test_all_rows_lost_are_all_rebuilt():
    """A lost database loses no chat: the planner rebuilds every row."""
    decided = in_step(rows=[]).plan()

    assert set(decided.rows) == {SPACE_ROW, CHAT_ROW}
    assert decided.report()["outcomes"]["recovered"] == 2


def test_an_archived_chat_is_recovered_as_archived():
    """The `archived` flag comes from the identity, so a lost row does not reopen a chat."""
    verdict = in_step(joined=[alices_space(children=()), alices_chat(archived=True)], rows=[SPACE_ROW]).verdict(CHAT)

    assert verdict.outcome == "recovered"
    assert verdict.row == replace(CHAT_ROW, archived=True, linked=False)


def test_an_identity_in_the_timeline_counts_and_the_last_one_wins():
    """An identity event in the timeline is newer than one in the state section, and wins."""
    chat = alices_chat(title="old")
    chat.timeline.append(chat.identity(archived=True).state["dev.greenroom.chat", ""])
    chat.identity(title="old")

    verdict = in_step(joined=[alices_space(), chat]).verdict(CHAT)

    assert (verdict.outcome, verdict.changes) == ("archived", ("archived",))


@decides("registered")
def test_a_room_whose_creation_was_interrupted_is_registered():
    """A room whose request is among the intents is registered and not recovered: it never had a row."""
    verdict = in_step(rows=[SPACE_ROW]).verdict(CHAT, interrupted=("$asked-for-chat",))

    assert verdict.row == CHAT_ROW
    return verdict


@pytest.mark.parametrize("mark", ["left", "orphaned", "powerless", "conflict"])
def test_a_marked_row_whose_room_is_whole_again_becomes_active(mark):
    """The planner takes the mark off when the bot, the owner or the power is back, or the rival room is gone."""
    marked = replace(CHAT_ROW, status=mark, detail="why")

    verdict = in_step(rows=[SPACE_ROW, marked]).verdict(CHAT)

    assert verdict.outcome == "registered"
    assert verdict.row == CHAT_ROW


def test_a_row_that_lacks_a_lesser_fact_is_registered_anew():
    """A row also follows the server in facts that have no outcome of their own, such as the creation time."""
    verdict = in_step(rows=[SPACE_ROW, replace(CHAT_ROW, created_ts=5)]).verdict(CHAT)

    assert (verdict.outcome, verdict.changes, verdict.row) == ("registered", ("created_ts",), CHAT_ROW)


def test_a_lesser_fact_hides_no_other_change():
    """A change with an outcome of its own is named, also if a fact without one changed too."""
    row = replace(CHAT_ROW, created_ts=5, title="Old")

    verdict = in_step(rows=[SPACE_ROW, row]).verdict(CHAT)

    assert (verdict.outcome, verdict.changes) == ("renamed", ("title", "created_ts"))
