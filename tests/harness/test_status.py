"""`status` where the bot's own check gives no answer, and what devices tell of any other bot."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.status import logged_in, status

BEFORE = "the homeserver last saw @bot:hs at 03:03:35 UTC, before this start"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_check_that_failed_is_no_drift(tmp_path, monkeypatch, capsys):
    """Python ends with 1 after a traceback, which is also the code for drift. Without a report nothing is known."""
    broken = tmp_path / "path" / "greenroom_bot"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    monkeypatch.setenv("MATRIX_HOMESERVER", "http://127.0.0.1:1")

    assert status(DevFolder(tmp_path), as_json=True) == 3

    said = json.loads(capsys.readouterr().out)
    assert (said["verdict"], said["problem"]) == ("cannot tell", "RuntimeError: broken")


@pytest.mark.parametrize(
    ("seen_s", "now_s", "said"),
    [
        (1, 5, "live"),
        (-30, 5, f"{BEFORE}, and notes it again only after 03:05:35"),
        (-30, 100, BEFORE),
    ],
)
def test_a_bot_with_a_session_of_before_is_not_seen_at_once(seen_s, now_s, said):
    """Seconds are since the start. Synapse notes a device at most every two minutes, so until then nothing is known."""
    devices = [{"last_seen_ts": (START.timestamp() + seen_s) * 1000}, {"last_seen_ts": None}]

    assert logged_in("@bot:hs", devices, START, START + timedelta(seconds=now_s)) == said


def test_a_bot_without_a_device_is_not_logged_in():
    """Nobody has ever logged in to its account."""
    assert logged_in("@bot:hs", [], START, START) == "not logged in as @bot:hs"
