"""When a bot is ready, and what is said while it is not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from greenroom.bot_ready import either, first_sync, http_ok, log_line, running_for
from greenroom.faults import Entry, Transcript

BOT = "@bot:greenroom.test"
SYNC = "/_matrix/client/v3/sync"


def bot(*, log: str = "", since_s: float = 1.0, **variables: str):
    """Stand in for a running bot, with what the conditions ask of it."""
    return SimpleNamespace(
        user_id=BOT,
        spawned_at_epoch_s=time.time() - since_s,
        log_text=lambda: log,
        running_for_s=lambda: since_s,
        known=variables,
    )


@dataclass(frozen=True)
class Sync:
    """A sync that began some time before it is looked at; open if it has no status."""

    age_s: float
    query: str = ""
    status: int | None = 200

    def entry(self) -> Entry:
        """Write it down as the proxy does."""
        duration_s = None if self.status is None else 0.01
        began = time.time() - self.age_s
        return Entry(began, "GET", SYNC, self.query, BOT, status=self.status, duration_s=duration_s)


def proxy(*syncs: Sync):
    """Stand in for a proxy that has seen these requests."""
    transcript = Transcript()
    for sync in syncs:
        transcript.begin(sync.entry())
    return SimpleNamespace(transcript=transcript)


@pytest.mark.parametrize(
    ("syncs", "reason"),
    [
        ([], "it has begun 0 sync(s), and none was answered"),
        ([Sync(age_s=0.5)], "it has begun 1 sync(s), and none was answered"),
        ([Sync(age_s=0.5), Sync(age_s=0.4)], None),
        ([Sync(age_s=0.5, status=502), Sync(age_s=0.4)], "it has begun 2 sync(s), and none was answered"),
        ([Sync(age_s=0.5, status=None)], "it has begun 1 sync(s), and none was answered"),  # the long first one
        ([Sync(age_s=0.5, status=None, query="since=s1")], None),  # it waits for news
        ([Sync(age_s=0.1, status=None, query="since=s1")], "it has begun 1 sync(s), and none was answered"),
        ([Sync(age_s=9), Sync(age_s=8)], "it has begun 0 sync(s), and none was answered"),  # an earlier start
    ],
)
def test_first_sync_means_that_it_listens(syncs, reason):
    """It came back for more, or waits in a long-poll from a known position."""
    assert first_sync(proxy(*syncs))(bot()) == reason


def test_a_log_line_counts_since_the_latest_start():
    """The text that is missing is named."""
    assert log_line("up")(bot(log="is up\n")) is None
    assert log_line("up")(bot(log="down\n")) == "its log has no line with 'up' yet"


def test_running_for_says_how_long_it_has_run():
    """The weakest condition."""
    assert running_for(0.5)(bot(since_s=1.0)) is None
    assert running_for(2)(bot(since_s=1.0)) == "it has run for 1.0 s of 2 s"


async def test_http_ok_says_why_not():
    """Nobody listens on port 1."""
    assert await http_ok("http://127.0.0.1:1/health")(bot()) == "http://127.0.0.1:1/health: ClientConnectorError"


async def test_http_ok_asks_at_the_port_that_the_bot_was_given(unused_tcp_port):
    """The URL may contain the bot's variables."""
    reason = await http_ok("http://127.0.0.1:${PORT}/health")(bot(PORT=str(unused_tcp_port)))

    assert reason == f"http://127.0.0.1:{unused_tcp_port}/health: ClientConnectorError"


async def test_either_is_met_by_one_and_names_all_otherwise():
    """Conditions combine."""
    assert await either(log_line("up"), running_for(0.5))(bot()) is None
    assert await either(log_line("up"), running_for(2))(bot()) == (
        "its log has no line with 'up' yet; it has run for 1.0 s of 2 s"
    )
