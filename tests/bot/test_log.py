"""What must never be in a log: tokens, and what people write."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from greenroom_bot.log import EXCERPT_LENGTH, configure_logging, excerpt


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored():
    """Put the logging of the test run back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def fail_with_a_secret() -> None:
    """Fail inside a function whose local variables hold a token, as nio's do."""
    access_token = "".join(["syt_", "secret"])
    assert access_token
    raise ValueError("it failed")


@pytest.mark.parametrize("stream_type", [io.StringIO, Terminal])
def test_a_logged_failure_shows_no_local_variables(stream_type):
    """nio's frames hold the access token in headers and paths; a traceback names lines only."""
    stream = stream_type()
    configure_logging("info", stream)

    for log in (structlog.get_logger().exception, logging.getLogger("asyncio").exception):
        try:
            fail_with_a_secret()
        except ValueError:
            log("handler_failed")

    assert stream.getvalue().count("it failed") >= 2
    assert "syt_secret" not in stream.getvalue()


def test_without_a_terminal_each_line_is_one_json_object():
    """A constant event name and keys, for machines; nio's own warnings, which quote whole events, are left out."""
    stream = io.StringIO()
    configure_logging("info", stream)

    structlog.get_logger().info("matrix_live", user_id="@bot:hs1")
    logging.getLogger("asyncio").warning("something odd")
    logging.getLogger("nio.events.misc").warning("Error validating event: %s", {"body": "what a person wrote"})

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["level"], first["user_id"]) == ("matrix_live", "info", "@bot:hs1")
    assert second["event"] == "something odd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello bot", "hello bot"),
        ("one\ntwo\r\nthree", "one⏎two⏎three"),
        ("\x1b[2Jclear\x07 \u202eright to left", "[2Jclear right to left"),
        ("x" * EXCERPT_LENGTH, "x" * EXCERPT_LENGTH),
        ("x" * (EXCERPT_LENGTH + 1), "x" * (EXCERPT_LENGTH - 1) + "…"),
        ("\x07" * 1000 + "x", "…"),
        ("", ""),
    ],
    ids=[
        "as it is",
        "line breaks",
        "control characters",
        "just short enough",
        "too long",
        "long and invisible",
        "none",
    ],
)
def test_an_excerpt_is_one_short_line_that_a_terminal_only_prints(text, shown):
    """What a person wrote may be long, have many lines, and hold what a terminal obeys."""
    assert excerpt(text) == shown
