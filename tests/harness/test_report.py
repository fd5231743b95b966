"""The report of a run: its rows as data, and the page, without a homeserver."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from greenroom.errors import Cause
from greenroom.evidence.bundle import write_bundle
from greenroom.evidence.record import LogSource, Record
from greenroom.evidence.report.rows import Picture, Row, picture
from greenroom.faults.transcript import CLIENT_LEFT, Entry, Transcript
from greenroom.people.accounts import Account
from greenroom.people.seen import Seen, SeenEvent

ALICE, BOT = "@alice-it-works-0a1b2c:x", "@bot-it-works-3d4e5f:x"
SEND = "/_matrix/client/v3/rooms/!abcdefghijklmnopqrst/send/m.room.message/txn1"
BEGAN = time.time() - 60


def entry(after_s: float, path: str = SEND, method: str = "PUT", **more: Any) -> Entry:
    """A request of the bot, so many seconds after the beginning."""
    known = {"status": 200, "forwarded": True, "server_status": 200, "duration_s": 0.012}
    return Entry(BEGAN + after_s, method, path, "", BOT, **{**known, **more})


def said(after_s: float, sender: str, body: str, event_id: str) -> SeenEvent:
    """A message that alice has seen."""
    return SeenEvent("!r", event_id, "m.room.message", sender, {"body": body}, None, False, at=BEGAN + after_s)


@pytest.fixture
def record(tmp_path) -> Record:
    """A record of alice, a bot and its proxy; the bot was killed once."""
    log = tmp_path / "bot.log"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGAN + 8))
    log.write_text(f'{{"event": "reply_failed", "level": "error", "timestamp": "{stamp}", "room": "!r"}}\n  more\n')
    seen = Seen(ALICE, timeline=[said(1, ALICE, "hello", "$1"), said(3, BOT, "<b>hi</b>", "$2")])
    transcript = Transcript(faults=[(BEGAN + 4, "fault put in force: 429 on /send/")])
    for one in (
        entry(2, "/_matrix/client/v3/sync", "GET", brought=("$1",)),
        entry(2.5, "/_matrix/client/v3/sync", "GET"),
        entry(3, sent='{"body": "<b>hi</b>"}', answered='{"event_id": "$2"}'),
        entry(5, status=429, forwarded=False, server_status=None, rule="429 on /send/"),
        entry(6, status=403, server_status=403, answered='{"errcode": "M_FORBIDDEN"}'),
        entry(7, duration_s=1.5),
        entry(8.5, "/_matrix/client/v3/sync", "GET", status=None, note=CLIENT_LEFT),
        entry(9, status=None, duration_s=None),
    ):
        transcript.begin(one)
    name = BOT[1:].partition(":")[0]
    logs = [LogSource("homeserver", tmp_path / "none.log"), LogSource(name, log)]
    happened = {log: [(BEGAN + 0.5, "started (pid 7)"), (BEGAN + 4.5, "killed with SIGKILL")]}
    return Record("test_x.py::test_it", BEGAN, logs, transcripts=[transcript], seen=[seen], happenings=happened)


def drawn(record: Record) -> Picture:
    return picture(record, record.moments(BEGAN + 10), "failed", "no answer came")


def row(record: Record, text: str) -> Row:
    """The only row whose text has this in it."""
    (found,) = [one for one in drawn(record).rows if text in one.text]
    return found


def test_a_lane_each_and_short_names(record):
    """Person, homeserver, proxy and bot stand from left to right, without what makes their names unique."""
    lanes = [(lane.kind, lane.title) for lane in drawn(record).lanes]

    assert lanes == [("person", "alice"), ("homeserver", "homeserver"), ("proxy", "proxy, faults"), ("bot", "bot")]


def test_everything_stands_in_order_of_time(record):
    """Messages, requests, log lines, faults, kills and the verdict are one list."""
    rows = drawn(record).rows

    assert [one.at for one in rows] == sorted(one.at for one in rows)
    kinds = Counter(one.kind for one in rows)
    assert kinds == {"message": 2, "request": 8, "log": 1, "fault": 1, "process": 2, "test": 2}
    assert rows[-1].text == "no answer came"
    assert rows[-1].mark == "failed"


def test_a_message_goes_from_its_sender_to_the_homeserver_and_on_to_who_saw_it(record):
    """A bot's message arrives at a person; the way of a person's ends at the homeserver."""
    hello, hi = row(record, "alice: hello"), row(record, "bot: <b>hi</b>")
    alice = ALICE[1:].partition(":")[0]

    assert (hello.start, hello.end) == (alice, "homeserver")
    assert (hi.start, hi.end) == ("homeserver", alice)
    assert json.loads(hi.detail["content"]) == {"body": "<b>hi</b>"}


@pytest.mark.parametrize(
    ("text", "mark", "end", "dull"),
    [
        ("GET …/sync → 200, 12 ms, 1 new", "", "homeserver", False),
        ("→ 429", "fault", "proxy", False),
        ("→ 403", "refused", "homeserver", False),
        ("→ 200, 1500 ms", "slow", "homeserver", False),
        ("→ no answer", "client left", "homeserver", False),
        ("→ open", "open", "homeserver", False),
    ],
)
def test_requests_are_marked_with_a_word(record, text, mark, end, dull):
    """What was refused, slow, hit by a fault or is still open says so; a fault's answer ends at the proxy."""
    found = row(record, text)

    assert (found.mark, found.end, found.dull) == (mark, end, dull)


def test_a_poll_that_brought_nothing_is_dull_and_a_click_shows_the_whole_request(record):
    """The dull ones are there, for those who switch them on."""
    rows = [one for one in drawn(record).rows if one.dull]

    assert [one.text for one in rows] == ["GET …/sync → 200, 12 ms"]
    detail = row(record, "!abcdef…/send/m.room.message → 200, 12 ms").detail
    assert json.loads(detail["body sent"]) == {"body": "<b>hi</b>"}
    assert json.loads(detail["body answered"]) == {"event_id": "$2"}
    assert SEND in detail["request"]


def test_a_log_line_in_json_becomes_its_event_with_level_and_what_follows_it(record):
    """Lines without a time of their own that go on with it belong to it."""
    found = row(record, "reply_failed")

    assert found.text == "reply_failed room=!r"
    assert found.mark == "error"
    assert found.detail["line"].endswith("\n  more")


def test_kills_and_starts_stand_in_the_lane_of_the_bot_and_in_the_timeline(record, tmp_path):
    """They are what the run has noted for the bot's log."""
    assert row(record, "killed with SIGKILL").mark == "killed"
    timeline = (write_bundle(tmp_path / "failures", record, "failed") / "timeline.txt").read_text()
    assert re.search(r"bot-it-works-3d4e5f +killed with SIGKILL", timeline)
    assert "proxy" in next(line for line in timeline.splitlines() if "fault put in force" in line)


def test_what_was_before_the_record_is_left_out(record):
    """The homeserver and its people may be older than the test."""
    record.seen[0].timeline.insert(0, said(-5, ALICE, "yesterday", "$0"))

    assert [one for one in drawn(record).rows if "yesterday" in one.text] == []


def test_the_page_needs_nothing_shows_the_cause_and_keeps_no_secret(record, tmp_path):
    """One file, escaped, with the cause above the whole message and the command that repeats it."""
    account = Account("@carol:x", "hunter22hunter22", "syt_Y2Fyb2w_abcdefgh", "DEVICE")
    record.note_account(account)
    record.transcripts[0].begin(entry(8, sent=json.dumps({"body": f"my password is {account.password}"})))
    causes = [Cause("refused", "the bot's <send> was refused", ("at 12:00:00",)), Cause("x", "another")]
    folder = write_bundle(tmp_path / "failures", record, "call failed\n\nE   boom", causes=causes, again="pytest x")
    html = (folder / "report.html").read_text()

    assert re.findall(r'(?:src|href)="(?!failure|timeline|http|versions|homeserver|bot)[^"]*', html) == []
    assert not re.search(r"https?://(?!www\.w3\.org)", html)
    assert "the bot&#39;s &lt;send&gt; was refused" in html
    assert html.index("the bot&#39;s") < html.index("E   boom")
    assert "pytest x" in html
    assert account.password not in html
    assert account.access_token not in html
    assert "<b>hi</b>" not in html
    assert len(html) < 1_000_000


def test_the_headline_without_a_cause_is_the_line_that_says_most(record, tmp_path):
    """Of pytest's text, the first line of the error."""
    error = "greenroom.errors.NotMet: waited 2 s for @bot-it-works-3d4e5f:x in !abcdefghijklmnopqrst, bot"
    said = f"call failed\n\n    assert x\nE   {error}\nE   seen instead"
    html = (write_bundle(tmp_path / "failures", record, said) / "report.html").read_text()

    assert re.search(r"call failed</span> waited 2 s for bot in !abcdef…, bot</h1>", html)


def test_a_run_that_passed_says_so(record, tmp_path):
    """A bundle that was only kept has no moment of failure."""
    folder = write_bundle(tmp_path / "failures", record, "passed\n\n", passed=True)
    data = page_data(folder / "report.html")

    assert "verdict good" in (folder / "report.html").read_text()
    assert [one for one in data["rows"] if one["kind"] == "test" and one.get("mark")] == []


def page_data(page: Path) -> dict[str, Any]:
    """The data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])
