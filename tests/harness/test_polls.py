"""How long people wait for news in one sync: some homeservers tell only at its end what happens while it begins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from greenroom.errors import NotMet
from greenroom.people.accounts import Account
from greenroom.people.person import LONG_S, SHORT_S, Person
from greenroom.people.seen import SeenEvent
from greenroom.waiting import NotYet

SERVER = SimpleNamespace(url="http://127.0.0.1:9", check_alive=lambda: None)


class Waiting(Person):
    """A person whose syncs bring nothing, except those whose numbers are in `news`. It notes how long they may take."""

    def __init__(self, *news):
        super().__init__(SERVER, Account("@carol:hs1", "secret"))
        self.news = news
        self.polls = []

    async def sync(self, timeout_ms=0):
        if len(self.polls) in self.news:
            event = SeenEvent("!room", f"${len(self.polls)}", "m.room.message", "@alice:hs1", {}, None, False)
            self.seen.timeline.append(event)
        self.polls.append(timeout_ms / 1000)


async def polls(person, count):
    """Return how long each of a person's first syncs may take while it waits for something."""
    await person.until(lambda seen: len(person.polls) >= count or NotYet("not enough"))
    return person.polls


async def test_a_wait_begins_with_a_short_poll_and_polls_get_longer():
    """So news that a homeserver tells at the end of a poll comes soon after whatever caused it."""
    assert await polls(Waiting(), 5) == [SHORT_S, 2 * SHORT_S, LONG_S, LONG_S, LONG_S]


async def test_after_news_polls_are_short_again():
    """One thing seldom happens alone."""
    assert await polls(Waiting(2), 5) == [SHORT_S, 2 * SHORT_S, LONG_S, SHORT_S, 2 * SHORT_S]


async def test_no_poll_lasts_longer_than_the_wait():
    """The time that is left limits a poll."""
    person = Waiting()
    with pytest.raises(NotMet):
        await person.until(lambda seen: NotYet("never"), timeout_s=0.01)

    assert max(person.polls) <= 0.01
