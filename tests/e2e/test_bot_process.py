"""A bot under test is any command line, run as a supervised process."""

from __future__ import annotations

import sys

import pytest

from greenroom.bot_process import OUR_READY_LINE, log_line
from greenroom.errors import Died, StartFailed
from tests.e2e.least_bots import LIVE_BOT, ends_on_cue, give_cue

LIVE = log_line(OUR_READY_LINE)
FAILING_BOT = "import sys; print('no such homeserver, giving up'); sys.exit(2)"


async def test_any_command_line_runs_with_an_account_and_a_store_of_its_own(bot):
    """The bot gets its homeserver and account from MATRIX_* and is ready when its log has the ready line."""
    stub = await bot([sys.executable, "-c", LIVE_BOT], ready=LIVE)

    assert stub.events("matrix_live")[0]["user"] == stub.user_id
    assert stub.env["MATRIX_DB_PATH"].startswith(str(stub.folder))
    assert await stub.stop() == 0


async def test_a_restarted_bot_is_a_new_process_with_the_same_folder(bot):
    """A ready line of an earlier start does not make the new one ready."""
    stub = await bot([sys.executable, "-c", LIVE_BOT], ready=LIVE)
    before = stub.pid

    await stub.kill()
    assert stub.returncode == -9
    await stub.start_again()

    assert stub.pid != before
    assert len(stub.events("matrix_live")) == 1


async def test_a_bot_that_ends_before_it_is_ready_is_reported_with_its_last_words(bot):
    """StartFailed has the exit code and the end of the log."""
    with pytest.raises(StartFailed, match=r"ended with exit code 2[\s\S]*no such homeserver, giving up"):
        await bot([sys.executable, "-c", FAILING_BOT])


async def test_a_bot_that_does_not_get_ready_is_stopped_and_the_error_says_what_is_missing(bot, monkeypatch):
    """StartFailed says what the ready condition last reported."""
    monkeypatch.delenv("GREENROOM_TIMEOUT_FACTOR", raising=False)
    with pytest.raises(
        StartFailed, match=r"not ready after 0\.3 s: its log has no line with '\"event\": \"matrix_live\"'"
    ):
        await bot([sys.executable, "-c", "import time; time.sleep(60)"], ready=LIVE, ready_timeout_s=0.3)


async def test_a_command_that_does_not_exist_is_one_clear_error(bot):
    """StartFailed names the missing program."""
    with pytest.raises(StartFailed, match="cannot run no-such-program: No such file"):
        await bot("no-such-program --really")


async def test_variables_are_filled_in_for_bots_that_read_other_names(bot):
    """`${MATRIX_HOMESERVER}` works in the command and in the environment."""
    show = "import os, sys, time; print(sys.argv[1], os.environ['MY_BOT_USER'], 'that is all'); time.sleep(60)"

    stub = await bot(
        [sys.executable, "-c", show, "${MATRIX_HOMESERVER}"],
        env={"MY_BOT_USER": "${MATRIX_USER_ID}"},
        ready=log_line("that is all"),
    )

    assert stub.log_text().split()[:2] == [stub.env["MATRIX_HOMESERVER"], stub.user_id]


async def test_waiting_for_a_dead_bot_ends_at_once(bot):
    """Waiting for a log line fails with Died as soon as the bot has ended."""
    stub = await bot(ends_on_cue("raise SystemExit(0)"), ready=lambda bot: None)
    give_cue(stub)

    with pytest.raises(Died, match="bot died: ended with exit code 0"):
        await stub.until_logged("never", timeout_s=30)
