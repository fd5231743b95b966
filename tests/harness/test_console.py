"""The output of `dev`: plain lines without a terminal, a table and readable logs with one."""

from __future__ import annotations

import io
import json
from datetime import UTC, timedelta, timezone

import pytest

from greenroom.commands.dev.console import Console, Progress, readable
from greenroom.commands.dev.follow import LogTail

STATE = {
    "homeserver": {
        "url": "http://127.0.0.1:8008",
        "server_name": "greenroom.test",
        "kind": "synapse",
        "backend": "process",
        "log": "/logs/homeserver.log",
    },
    "bot": {"user_id": "@bot:greenroom.test", "pid": 7, "log": "/logs/bot.log", "command": "python -m greenroom_bot"},
    "people": [
        {"user_id": "@bot:greenroom.test", "password": "d3ns6ruvi2ycm7hj4bqk"},
        {"user_id": "@alice:greenroom.test", "password": "7yq2mhd4xk3vjw5tnc6r"},
    ],
    "env_file": "/dev.env",
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_are_plain_lines():
    """Each line has one fact, and none has control characters."""
    out = io.StringIO()

    Console(out).overview(STATE)

    assert out.getvalue().splitlines()[0] == (
        "homeserver   http://127.0.0.1:8008  (synapse, process, server name greenroom.test)"
    )
    people = [line for line in out.getvalue().splitlines() if line.startswith("person")]
    assert people == ["person       @alice:greenroom.test  password 7yq2mhd4xk3vjw5tnc6r"]  # the bot is none
    assert out.getvalue().replace("\n", "").isprintable()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_control_characters_of_a_log_never_reach_the_reader(stream):
    """Neither an escape sequence nor markup of rich in a log line changes the terminal."""
    out = stream()

    Console(out).log("bot", "\x1b[2J\x1b[31m[bold]red\x07")
    Console(out).log("bot", logged("odd", text="\x1b[2J\x07"))  # escaped by JSON

    assert "\x1b[2J" not in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "[bold]red" in out.getvalue()


def reported(stream: io.StringIO, *moments: tuple[float, int]) -> str:
    """Return what a progress of 100 steps prints at each (second, number of steps done)."""
    times = iter([0.0, *(at_s for at_s, _ in moments)])
    progress = Progress(stream, "seed", clock=lambda: next(times))
    for _, done in moments:
        progress(done, 100)
    return stream.getvalue()


def test_progress_is_a_line_every_few_seconds_without_a_terminal():
    """Work that takes less prints nothing; the time left follows from the time so far."""
    assert reported(io.StringIO(), (0.5, 10), (2.9, 99), (2.95, 100)) == ""
    assert reported(io.StringIO(), (3.0, 20), (4.0, 30), (6.0, 60), (9.9, 99), (10.0, 100)) == (
        "seed: 20/100, about 12 s left\nseed: 60/100, about 4 s left\nseed: 99/100, about 1 s left\n"
    )


def test_progress_is_one_line_on_a_terminal_and_leaves_nothing_behind():
    """The line is rewritten, the cursor waits at its beginning for whatever comes, and the end removes it."""
    assert reported(Terminal(), (0.05, 1), (1.0, 50), (1.01, 51), (2.0, 100)) == (
        "\rseed: 50/100, about 1 s left\x1b[K\r\r\x1b[K"
    )


def logged(event: str, **keys: object) -> str:
    """Return a line of the bot's log."""
    return json.dumps({**keys, "event": event, "level": "info", "timestamp": "2026-01-02T03:04:05.678Z"})


def test_structured_lines_are_readable():
    """A structured line becomes time, level, event and keys; any other line stays as it is."""
    line = logged("room_joined", room="!a", n=0)

    assert readable(line, UTC) == ["03:04:05 info room_joined room=!a n=0"]
    assert readable(line, timezone(timedelta(hours=2)))[0].startswith("05:04:05 ")
    assert readable("{not json") == ["{not json"]
    assert readable("plain") == ["plain"]
    assert readable('{"event": "odd", "timestamp": "then"}') == ["then odd"]


def test_a_message_is_shown_as_who_said_what_in_which_room():
    """Room name, person and text, then the answer; a room without a name is shown by its id."""
    message = {"room_id": "!a", "sender": "@alice:greenroom.test", "duration_ms": 12}

    answered = logged("message_handled", **message, room="General", body="hello bot", answer="hello")
    unanswered = logged("message_handled", **message, room="", body="psst", answer="")
    without_texts = logged("message_handled", **message)

    assert readable(answered, UTC) == ["03:04:05 General  @alice: hello bot", "03:04:05 General  -> hello"]
    assert readable(unanswered, UTC) == ["03:04:05 !a  @alice: psst"]
    assert readable(without_texts, UTC) == [
        "03:04:05 info message_handled room_id=!a sender=@alice:greenroom.test duration_ms=12"
    ]


def test_a_room_that_drifted_is_shown_by_its_name():
    """If the log has the name; otherwise by its id."""
    named = logged("room_drifted", room_id="!a", outcome="recovered", room="General")

    assert readable(named, UTC) == ["03:04:05 info room_drifted outcome=recovered room=General"]
    assert readable(logged("room_drifted", room_id="!a"), UTC) == ["03:04:05 info room_drifted room_id=!a"]


def test_the_report_of_a_start_is_shown_without_its_zeros():
    """Fourteen outcomes are counted; those that happened are shown."""
    line = logged(
        "matrix_reconcile_complete",
        rooms_seen=6,
        outcomes={"conflict": 0, "recovered": 5, "skipped": 1},
        reasons={"direct_room": 1},
        degraded=False,
        server_writes=0,
    )

    assert readable(line, UTC) == [
        "03:04:05 info matrix_reconcile_complete rooms_seen=6 recovered=5 skipped=1 direct_room=1"
    ]


def test_an_exception_is_shown_as_lines_like_pythons():
    """The cause first, with the file and line to look at; what is no exception of structlog's stays as it is."""
    cause = {
        "exc_type": "ValueError",
        "exc_value": "out of order",
        "frames": [{"filename": "/app/mine.py", "lineno": 3, "name": "respond"}],
    }
    outer = {"exc_type": "ResponderFailed", "exc_value": "ValueError: out of order", "frames": []}

    assert readable(logged("failed", n=1, exception=[outer, cause]), UTC) == [
        "03:04:05 info failed n=1",
        '  File "/app/mine.py", line 3, in respond',
        "ValueError: out of order",
        "ResponderFailed: ValueError: out of order",
    ]
    assert readable(logged("failed", exception="Traceback:\n  ..."), UTC)[1:] == ["Traceback:", "  ..."]
    assert readable(logged("failed", exception=["odd"]), UTC) == ["03:04:05 info failed exception=['odd']"]
    assert readable(logged("failed", exception=7), UTC) == ["03:04:05 info failed exception=7"]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_messages_are_readable_with_and_without_a_terminal(stream):
    """A pipe gets the same words as a terminal."""
    out = stream()

    Console(out).log("bot", logged("message_handled", room="General", sender="@alice:hs", body="hello", answer="hi"))

    assert "General  @alice: hello" in out.getvalue()
    assert "General  -> hi" in out.getvalue()


def test_what_the_terminal_cannot_show_is_escaped():
    """A terminal without UTF-8 ends nothing."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)

    Console(out).log("bot", "a heart: \u2665")

    assert out.buffer.getvalue() == b"bot        | a heart: \\u2665\n"


def test_the_line_for_a_matrix_client_names_a_person_and_not_the_bot():
    """The line has the name and password of the first person who is not the bot."""
    out = io.StringIO()

    Console(out).overview(STATE)

    assert out.getvalue().endswith(
        "\nIn a Matrix client: homeserver http://127.0.0.1:8008  user alice  password 7yq2mhd4xk3vjw5tnc6r\n"
    )


def test_each_complete_line_of_a_followed_log_is_returned_once(tmp_path):
    """A line counts when its end is written; a log that was replaced is read from its beginning."""
    log = tmp_path / "log"
    tail = LogTail(log)
    assert tail.new_lines() == []

    log.write_bytes(b"one\ntw")
    assert tail.new_lines() == ["one"]
    with log.open("ab") as more:
        more.write(b"o\n")
    assert tail.new_lines() == ["two"]
    log.write_bytes(b"new\n")
    assert tail.new_lines() == ["new"]


def test_warnings_and_errors_stand_out_on_a_terminal(monkeypatch):
    """Yellow and red, by the level that the readable line has; a pipe gets no colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe = Terminal(), io.StringIO()

    for out in (terminal, pipe):
        Console(out).log("homeserver", "03:04:05 error synapse.http: broken")
        Console(out).log("homeserver", "03:04:05 warning synapse.http: slow")

    assert "\x1b[31m03:04:05 error" in terminal.getvalue()
    assert "\x1b[33m03:04:05 warning" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()


def test_only_the_source_of_a_line_has_its_colour(monkeypatch):
    """On a terminal the prefix is coloured, and a warning, but not what the bot or a person says."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    console = Console(terminal)

    console.log("bot", "said")
    console.log("bot", "12:00:00 warning something")

    said, warned = terminal.getvalue().splitlines()
    assert said == "\x1b[32mbot        | \x1b[0msaid"
    assert warned == "\x1b[32mbot        | \x1b[0m\x1b[33m12:00:00 warning something\x1b[0m"
