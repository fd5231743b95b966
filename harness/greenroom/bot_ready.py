"""When a bot is ready: conditions on its log, its requests, its ports or its time."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from string import Template
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from greenroom.faults import FaultProxy

LISTENS_AFTER_S = 0.25  # a sync with news answers sooner

# Takes the bot. Returns None when the bot is ready, otherwise what is missing in a few words.
Ready = Callable[[Any], "str | Awaitable[str | None] | None"]


class Started(Protocol):
    """A bot that was started: what these conditions look at."""

    spawned_at_epoch_s: float

    @property
    def user_id(self) -> str:
        """The bot's account."""

    @property
    def known(self) -> Mapping[str, str]:
        """The bot's environment and its other variables."""

    def log_text(self) -> str:
        """Return the log of the latest start."""

    def running_for_s(self) -> float:
        """Return the seconds since the latest start."""


def log_line(text: str) -> Ready:
    """Return the condition that the log of the latest start has a line with `text`."""

    def ready(bot: Started) -> str | None:
        return None if text in bot.log_text() else f"its log has no line with {text!r} yet"

    return ready


def http_ok(url: str) -> Ready:
    """Return the condition that `url` answers with a 2xx: for bots that have a health endpoint.

    The bot's variables are filled in, such as `${PORT}`.
    """

    async def ready(bot: Started) -> str | None:
        import aiohttp

        where = Template(url).safe_substitute(bot.known)
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(where) as response:
                return None if 200 <= response.status < 300 else f"{where} answers {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{where}: {type(error).__name__}"

    return ready


def first_sync(faults: FaultProxy) -> Ready:
    """Return the condition that the bot listens, as the proxy sees it: a `/sync` was answered, the next has begun.

    The bot need not do anything for it. A long-poll from a saved position counts after it has waited for a moment.
    """

    def ready(bot: Started) -> str | None:
        begun = [
            entry
            for entry in faults.transcript.entries(user=bot.user_id, path="/sync")
            if entry.at >= bot.spawned_at_epoch_s
        ]
        done = any(entry.status == 200 for entry in begun[:-1])
        polls = any(
            entry.duration_s is None and "since=" in entry.query and time.time() - entry.at > LISTENS_AFTER_S
            for entry in begun
        )
        return None if done or polls else f"it has begun {len(begun)} sync(s), and none was answered"

    return ready


def either(*conditions: Ready) -> Ready:
    """Return the condition that one of these holds."""

    async def ready(bot: Started) -> str | None:
        reasons = []
        for condition in conditions:
            answer = condition(bot)
            reason = await answer if inspect.isawaitable(answer) else answer
            if reason is None:
                return None
            reasons.append(reason)
        return "; ".join(reasons)

    return ready


def running_for(seconds: float) -> Ready:
    """Return the condition that the bot has run for some seconds: the weakest one, for a bot without other signs."""

    def ready(bot: Started) -> str | None:
        ran_s = bot.running_for_s()
        return None if ran_s >= seconds else f"it has run for {ran_s:.1f} s of {seconds:g} s"

    return ready
