"""Of the homeserver's log, `dev` shows what a person should see."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from greenroom.commands.dev.follow import HomeserverLines, clock

SYNAPSE = """\
2026-01-02 03:04:05,178 WARNING synapse.config.logger main ***** STARTING SERVER *****
2026-01-02 03:04:05,179 INFO synapse.access.http PUT-1 Processed request: 0.040sec "PUT /x"
2026-01-02 03:04:06,180 WARNING synapse.storage PUT-2 a slow query
2026-01-02 03:04:07,181 ERROR synapse.http.server GET-3 Failed handle request
Traceback (most recent call last):
  File "server.py", line 7, in handle
    raise ValueError("no such room")

ValueError: no such room
2026-01-02 03:04:08,182 INFO synapse.handlers None a text about WARNING and ERROR
  with a second line
""".splitlines()
# As tracing-subscriber 0.3 writes it: the level in five columns, and colours.
CONDUIT = [
    "\x1b[2m2026-01-02T03:04:05.178901Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2mconduit\x1b[0m\x1b[2m:\x1b[0m listening",
    "\x1b[2m2026-01-02T03:04:06.178901Z\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2mconduit\x1b[0m\x1b[2m:\x1b[0m an odd sync",
    "2026-01-02T03:04:07.178901Z ERROR conduit: without colours",
    "2026-01-02T03:04:08.178901Z DEBUG conduit: over",
]


def shown(lines: list[str], *, everything: bool = False) -> list[str]:
    """Return what of a log a person sees."""
    filtered = HomeserverLines(everything=everything, utc=True, zone=UTC)
    return [line for each in lines for line in filtered.shown(each)]


def test_only_warnings_and_errors_of_synapse_are_shown():
    """A traceback belongs to its error, up to the next entry; what every start says at WARNING is left out."""
    assert shown(SYNAPSE) == [
        "03:04:06 warning synapse.storage PUT-2 a slow query",
        "03:04:07 error synapse.http.server GET-3 Failed handle request",
        *SYNAPSE[4:9],
    ]


def test_only_warnings_and_errors_of_conduit_are_shown():
    """Its lines have the form of Rust's tracing."""
    assert shown(CONDUIT) == [
        "03:04:06 warn conduit: an odd sync",
        "03:04:07 error conduit: without colours",
    ]


@pytest.mark.parametrize("log", [SYNAPSE, CONDUIT])
def test_on_demand_each_line_is_shown_as_it_is(log):
    """`--homeserver-log`."""
    assert shown(log, everything=True) == log


@pytest.mark.parametrize(
    "words",
    [
        ["Traceback (most recent call last):", '  File "x.py", line 1', "MemoryError"],
        ["Fatal Python error: Segmentation fault", "", "Current thread 0x1 (most recent call first):"],
        ["thread 'main' panicked at src/main.rs:7:5:", "no space left on device"],
    ],
)
def test_last_words_without_a_level_are_shown(words):
    """A server that breaks down no longer logs: it prints, after an entry of any level."""
    assert shown([SYNAPSE[1], *words]) == words
    assert shown(words) == words


def test_times_are_shown_in_one_zone():
    """A server in a container writes UTC without saying so; the bot's lines beside it are local."""
    east = timezone(timedelta(hours=2))

    assert clock("2026-01-02 03:04:05,678", utc=True, zone=east) == "05:04:05"
    assert clock("2026-01-02T03:04:05.678901Z", zone=east) == "05:04:05"
    assert clock("2026-01-02 03:04:05,678") == "03:04:05"
    assert clock("no time") == "no time"
