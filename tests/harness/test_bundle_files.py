"""The files of a bundle, without a homeserver."""

from __future__ import annotations

import sys
import time

import pytest

from greenroom.errors import Cause, NotMet
from greenroom.evidence.bundle import kept_paths, write_bundle
from greenroom.evidence.record import Record
from greenroom.people.accounts import Account

ACCOUNT = Account("@bot:x", "hunter22hunter22", "syt_dG9rZW4_abcdefgh", "DEVICE")
CAUSE = Cause("blocked", "the bot received the question at 12:00:00, and has sent no request since", ("a detail",))


@pytest.fixture
def record(tmp_path) -> Record:
    """A record of a bot that has logged something."""
    record = Record("tests/test_x.py::test_it", began=time.time())
    log = tmp_path / "run" / "bot-1" / "bot.log"
    log.parent.mkdir(parents=True)
    log.write_text("hello\n")
    record.note_bot(ACCOUNT, log, {"MATRIX_PASSWORD": ACCOUNT.password})
    record.note_program("bot", [sys.executable, "bot.py"], {})
    yield record
    record.clock.close()


def test_the_cause_stands_at_the_top_of_the_timeline(record, tmp_path):
    """It is that of the error, or of the error from which that one was raised."""
    plain = RuntimeError("wrapped")
    plain.__cause__ = NotMet("tea", 1.0, [], causes=[CAUSE])

    for error in (plain, plain.__cause__):
        folder = write_bundle(tmp_path / "failures", record, "failed", error)
        head = (folder / "timeline.txt").read_text().splitlines()
        assert head[:5] == ["# tests/test_x.py::test_it", "#", f"# {CAUSE.headline}", "#     a detail", "#"]


def test_paths_of_logs_name_the_copy_that_stays(record, tmp_path):
    """In the failure, and in any text that a command prints."""
    log = record.logs[0].path
    folder = write_bundle(tmp_path / "failures", record, f"died\n  full log: {log}")

    assert f"full log: {folder / 'bot.log'}\n" in (folder / "failure.txt").read_text()
    assert kept_paths(f"see {log}", record, folder) == f"see {folder / 'bot.log'}"
    assert (folder / "bot.log").read_text() == "hello\n"


def test_the_command_that_repeats_it_and_more_files(record, tmp_path):
    """Secrets are removed from all of them."""
    files = {"observed.json": f'{{"log": "{ACCOUNT.password}"}}'}
    folder = write_bundle(tmp_path / "failures", record, "failed", again="greenroom scenarios --only x", files=files)

    assert (folder / "failure.txt").read_text().endswith("\n\nrepeat just this: greenroom scenarios --only x\n")
    assert (folder / "observed.json").read_text() == '{"log": "[redacted]"}'


def test_the_versions_have_the_harness_and_each_bot(record, tmp_path):
    """Both under a heading of their own."""
    lines = (write_bundle(tmp_path / "failures", record, "failed") / "versions.txt").read_text().splitlines()

    assert lines[0] == "the harness"
    bot = lines[lines.index("bot") + 1 :]
    assert bot[0].startswith(f"  python {sys.version.split()[0]}")
    assert len(bot) > 1
