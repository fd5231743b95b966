"""The messages of errors: the cause first, then what was awaited, then what was seen, then the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.errors import Cause, Died, Happened, NotMet, StartFailed
from greenroom.evidence.asked import AskedBot

SILENT = Cause("blocked", "the bot received the question at 12:00:00, and has sent no request since (14.2 s)")
LOGGED = Cause("exception", "the bot's log has KeyError: 'x'", ("bot.py:3, in f", "  x['x']"), from_log=True)
ENDED = Cause("ended", "the bot ended with exit code 1: KeyError: 'x'", ("bot.py:3, in f",), from_log=True)
LOG = Path("/logs/bot.log")


class Bot:
    """What an error asks of a bot."""

    user_id = "@bot:x"
    log_path = LOG

    def __init__(self, *causes: Cause) -> None:
        self.known = list(causes)
        self.asked: list[tuple[float, str | None, str | None]] = []

    def check_alive(self) -> None: ...

    def log_tail(self, lines: int = 15) -> list[str]:
        return [f"line {n}" for n in range(9)][-lines:]

    def causes(self, *, since: float, asked: str | None = None, room: str | None = None) -> list[Cause]:
        self.asked.append((since, asked, room))
        return self.known

    def repeats(self) -> list[Cause]:
        return self.known


def test_a_wait_that_failed_begins_with_the_cause():
    """The first cause with its details, a line for the next, then the rest. Fewer log lines if a cause quotes them."""
    error = NotMet("tea", 15.0, [(0.02, "no tea")], watched=[Bot(LOGGED, SILENT)])

    assert error.causes == (LOGGED, SILENT)
    assert str(error).splitlines() == [
        LOGGED.headline,
        "    bot.py:3, in f",
        "      x['x']",
        f"  also: {SILENT.headline}",
        "  waited 15.0 s for tea; it did not happen",
        "  seen instead:",
        "      0.02 s  no tea",
        "  last log lines of @bot:x:",
        "    line 6",
        "    line 7",
        "    line 8",
        f"  full log: {LOG}",
    ]


def test_without_a_cause_a_wait_begins_with_what_was_awaited():
    """As many log lines as always."""
    error = NotMet("tea", 15.0, [], watched=[Bot()])

    assert str(error).startswith("waited 15.0 s for tea; it did not happen\n  last log lines of @bot:x:\n    line 4")
    assert str(NotMet("tea", 1.0, [], watched=[Bot(SILENT)], causes=())).startswith("waited 1.0 s for tea")


def test_of_two_bots_each_cause_names_its_own():
    """`the bot` would not be clear."""
    assert str(NotMet("tea", 1.0, [], watched=[Bot(SILENT), Bot()])).startswith(f"@bot:x: {SILENT.headline}")


def test_a_question_reaches_the_bot_that_explains_itself():
    """A bot in `watch=` may carry the question, its room and its time."""
    bot = Bot(SILENT)
    NotMet("tea", 1.0, [], watched=[AskedBot(bot, "$q", "!room", 5.0)])

    assert bot.asked == [(5.0, "$q", "!room")]


@pytest.mark.parametrize(
    ("error", "first"),
    [
        (Died("bot", "ended with exit code 1", causes=[ENDED]), "bot died: ended with exit code 1: KeyError: 'x'"),
        (
            StartFailed("the bot", "ended with exit code 1", causes=[ENDED]),
            "the bot did not start: ended with exit code 1: ",
        ),
        (Died("bot", "ended with exit code 1"), "bot died: ended with exit code 1"),
    ],
)
def test_the_end_of_a_bot_and_its_exception_are_one_line(error, first):
    """How it ended is said once."""
    assert str(error).startswith(first)
    assert str(error).count("ended with exit code 1") == 1


def test_a_start_that_took_too_long_begins_with_the_cause():
    """What the ready condition missed comes below."""
    never = Cause("no request", "the bot has made no request at all: does it read MATRIX_HOMESERVER?")
    error = StartFailed("the bot", "not ready after 30 s: it has begun 0 sync(s)", causes=[never], tail=["hello"])

    assert str(error).splitlines() == [
        "the bot did not start: it has made no request at all: does it read MATRIX_HOMESERVER?",
        "  not ready after 30 s: it has begun 0 sync(s)",
        "  last log lines:",
        "    hello",
    ]


def test_what_must_never_happen_says_what_the_requests_show():
    """What happened comes first there: it is seen, the cause is a guess."""
    twice = Cause("repeated", "the bot sent the same 2 times, under different transaction ids: PUT /x", ("12:00:00",))

    assert str(Happened("alice saw it twice", "@bot:x: 'pong'", watched=[Bot(twice)])).splitlines()[:4] == [
        "alice saw it twice; that must never happen",
        f"  because: {twice.headline}",
        "      12:00:00",
        "  seen: @bot:x: 'pong'",
    ]
