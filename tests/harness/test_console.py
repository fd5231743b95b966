"""The output of `dev`: plain lines without a terminal, a table and readable logs with one."""

from __future__ import annotations

import io

import pytest

from greenroom.commands.dev.console import Console, paste_line, readable
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

    assert "\x1b[2J" not in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "[bold]red" in out.getvalue()


def test_structured_lines_are_readable_on_a_terminal():
    """A structured line becomes time, level, event and keys; any other line stays as it is."""
    line = '{"room": "!a", "n": 0, "event": "room_joined", "level": "info", "timestamp": "2026-01-02T03:04:05Z"}'

    assert readable(line) == "03:04:05 info room_joined room=!a n=0"
    assert readable("{not json") == "{not json"
    assert readable("plain") == "plain"


def test_the_line_for_a_matrix_client_names_a_person_and_not_the_bot():
    """The line has the name and password of the first person who is not the bot."""
    assert paste_line(STATE) == (
        "In a Matrix client: homeserver http://127.0.0.1:8008  user alice  password 7yq2mhd4xk3vjw5tnc6r"
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
