"""How long to wait before asking again, and when not to."""

from __future__ import annotations

import pytest

from greenroom_bot.matrix.errors import MatrixError
from greenroom_bot.matrix.retry import backoff_s, until_answered


@pytest.fixture
def _brief_waits():
    """The real lengths, here."""


def test_waits_double_up_to_half_a_minute():
    """From half a second."""
    longest = [backoff_s(attempt, jitter=lambda: 1.0) for attempt in range(1, 9)]

    assert longest == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff_s(10_000, jitter=lambda: 1.0) == 30


def test_waits_are_spread_over_their_upper_half():
    """Many clients do not come back at once, and none comes back at once."""
    assert [backoff_s(4, jitter=lambda: 0.0), backoff_s(4, jitter=lambda: 1.0)] == [2, 4]


@pytest.mark.parametrize("attempt", [1, 20])
def test_what_the_server_asks_for_counts_in_full(attempt):
    """Never earlier, and only a little later."""
    assert 7.0 <= backoff_s(attempt, 7000) <= 7.05


class Server:
    """Fails so many times, then answers."""

    def __init__(self, *failures: MatrixError) -> None:
        self.failures, self.calls, self.waits = list(failures), 0, []

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def failure(status: int | None, **body: object) -> MatrixError:
    return MatrixError("GET", "/x", status=status, body=body)


@pytest.mark.parametrize("status", [None, 500, 502, 429, 200])
async def test_a_passing_failure_is_repeated_until_there_is_an_answer(status):
    """No answer, a failing server, a rate limit, a page instead of JSON."""
    server = Server(failure(status), failure(status))

    assert await until_answered("it", server, sleep=server.sleep) == "answer"
    assert (server.calls, len(server.waits)) == (3, 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_an_answer(status):
    """Asking again would not change it."""
    server = Server(failure(status))

    with pytest.raises(MatrixError):
        await until_answered("it", server, sleep=server.sleep)

    assert (server.calls, server.waits) == (1, [])


async def test_attempts_may_be_limited():
    """The last failure is raised."""
    server = Server(*[failure(502) for _ in range(5)])

    with pytest.raises(MatrixError):
        await until_answered("it", server, attempts=3, sleep=server.sleep)

    assert (server.calls, len(server.waits)) == (3, 2)


async def test_waiting_is_visible(log_lines):
    """Each wait is one log line that says for what, and why."""
    server = Server(failure(429, retry_after_ms=3000))

    await until_answered("homeserver", server, sleep=server.sleep)

    (line,) = [line for line in log_lines if line["event"] == "waiting"]
    assert line["what"] == "homeserver"
    assert "429" in line["seen"]
    assert 3.0 <= server.waits[0] <= 3.05
