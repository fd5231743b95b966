"""Several logs become one timeline, without secrets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from greenroom.evidence.log_clock import Growth, LogClock
from greenroom.evidence.scrub import Scrubber, without_secrets
from greenroom.evidence.timeline import merged, moments_of_log, moments_of_server_log, time_of
from greenroom.faults.transcript import Entry, is_write, shown_body

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "x", "timestamp": "2026-11-21T12:00:00Z"}',
        f'{{"event": "x", "ts": {NOON}}}',
        "2026-11-21 12:00:00,000 INFO ready",
        "[2026-11-21T13:00:00+01:00] ready",
    ],
)
def test_a_line_s_own_time_is_found(line):
    """A line's own time is found in a JSON key or an ISO date, with or without a zone."""
    assert time_of(line, utc=True) == NOON


@pytest.mark.parametrize(
    "line", ["ready", '{"event": "x"}', "{broken", "x" * 70 + "2026-11-21 12:00:00", "2026-99-99 12:00:00"]
)
def test_a_line_without_a_time_has_none(line):
    """A line without a valid date near its start has no time."""
    assert time_of(line) is None


def test_lines_without_a_time_stay_with_the_one_before_or_where_they_appeared():
    """A line without a time gets the time at which it appeared in a watched file, or that of the line before."""
    stamped = list(moments_of_log("bot", "early\n2026-11-21 12:00:00,000 oops\nTraceback\n", began=1.0, utc=True))
    watched = list(moments_of_log("bot", "one\ntwo\n", began=1.0, growth=Growth(sizes=[4, 8], times=[5.0, 9.0])))

    assert [(m.at, m.guessed) for m in stamped] == [(1.0, True), (NOON, False), (NOON, True)]
    assert [(m.at, m.text) for m in watched] == [(5.0, "one"), (9.0, "two")]


def test_a_server_log_is_reduced_to_requests_and_trouble():
    """A server log becomes its requests, at their arrival, and its warnings and errors with tracebacks."""
    text = (
        "2026-11-21 12:00:01,000 INFO synapse.handlers GET-1 nothing to see\n"
        "2026-11-21 12:00:02,500 INFO synapse.access.http.0 PUT-4 127.0.0.1 - 0 - {@a:x} Processed request: "
        '0.500sec/0.005sec ru=(0.0sec, 0.0sec) db=(0.0sec/0.0sec/12) 59B 200 "PUT /send/1 HTTP/1.1" "x" [0 dbevts]\n'
        "2026-11-21 12:00:03,000 ERROR synapse.http PUT-5 Failed\nTraceback\n"
        "2026-11-21 12:00:04,000 INFO synapse.handlers GET-6 fine again\n"
    )

    found = list(moments_of_server_log("hs", text, began=NOON, utc=True))

    assert [(m.at - NOON, m.text.partition(" synapse")[0]) for m in found] == [
        (2.0, "PUT /send/1 -> 200 by @a:x, 0.500 s"),
        (3.0, "2026-11-21 12:00:03,000 ERROR"),
        (3.0, "Traceback"),
    ]


def test_moments_at_the_same_time_keep_their_order():
    """Moments of the same time keep their order."""
    lines = list(moments_of_log("a", "1\n2\n", began=5.0)) + list(moments_of_log("b", "0\n", began=4.0))

    assert [m.text for m in merged(lines)] == ["0", "1", "2"]
    assert str(lines[0]) == "00:00:05.000~ a            1"


def test_a_growing_file_is_noticed(tmp_path):
    """Each byte of a growing file has the time of the look that first saw it."""
    clock = LogClock()
    growth = clock.watch(tmp_path / "log")
    (tmp_path / "log").write_text("one\n")
    clock.look()
    clock.close()

    assert growth.written_at(0) == growth.written_at(3) is not None
    assert growth.written_at(4) is None


def test_secrets_are_found_by_value_by_form_and_by_name():
    """Known passwords, anything like a Synapse token, and settings with a secret's name are redacted."""
    scrub = Scrubber(["hunter22", "short", ""])

    assert scrub.text("password hunter22, token syt_YQ_abc_1, short") == "password [redacted], token [redacted], short"
    assert without_secrets(
        {
            "MATRIX_PASSWORD": "x",
            "MATRIX_USER_ID": "@a:b",
            "nested": [{"form_secret": "y", "port": 1}],
            "bcrypt_rounds": 4,
        }
    ) == {
        "MATRIX_PASSWORD": "[redacted]",
        "MATRIX_USER_ID": "@a:b",
        "nested": [{"form_secret": "[redacted]", "port": 1}],
        "bcrypt_rounds": 4,
    }


def test_bodies_are_shown_without_secrets_and_cut():
    """Bodies are shown without secrets and cut if they are long, whether JSON or not."""
    assert shown_body(b"") == ""
    assert shown_body(b'{"password": "p", "a": [{"access_token": "t"}]}') == (
        '{"password": "[redacted]", "a": [{"access_token": "[redacted]"}]}'
    )
    assert shown_body(b"<html>syt_abc_def</html>") == "<html>[redacted]</html>"
    assert shown_body(b'"' + b"x" * 5000 + b'"').endswith("… (5002 bytes)")


@pytest.mark.parametrize(
    ("method", "path", "write"),
    [
        ("PUT", "/_matrix/client/v3/rooms/!r/send/m.room.message/1", True),
        ("POST", "/_matrix/client/v3/createRoom", True),
        ("PUT", "/_matrix/client/v3/rooms/!r/typing/@a:b", True),
        ("GET", "/_matrix/client/v3/sync", False),
        ("POST", "/_matrix/client/v3/login", False),
        ("POST", "/_matrix/client/v3/keys/upload", False),
        ("POST", "/_matrix/client/v3/user/@a:b/filter", False),
    ],
)
def test_a_write_is_what_others_can_see(method, path, write):
    """A write is a request whose result others can see. Sessions, filters and device keys are no writes."""
    assert is_write(method, path) is write


def test_a_line_of_the_transcript_names_user_request_and_outcome():
    """A line names the user, the request, the client's answer and, if it differs, the server's."""
    entry = Entry(NOON, "PUT", "/send", "ts=1", "@a:b", status=None, server_status=200, duration_s=0.01, rule="dropped")

    assert entry.line() == "12:00:00.000 @a:b PUT /send?ts=1 -> no answer (homeserver answered 200), 10 ms [dropped]"


def test_a_request_that_was_answered_shows_its_answer_before_it_is_over():
    """The client may act on the answer, and a bundle may be written, before the proxy has noted the end."""
    answering = Entry(0.0, "GET", "/whoami", "", None, status=401)
    waiting = Entry(0.0, "GET", "/whoami", "", None)
    cut = Entry(0.0, "GET", "/whoami", "", None, duration_s=0.5)

    assert answering.line().endswith("-> 401, open")
    assert waiting.line().endswith("-> open, open")
    assert cut.line().endswith("-> no answer, 500 ms")
