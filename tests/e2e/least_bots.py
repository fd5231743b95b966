"""The smallest bots: source code for tests that start a process and do not care what it says."""

from __future__ import annotations

import sys

from greenroom.bot_process import RunningBot

# Logs that it is live, and ends at SIGTERM. The signal is blocked first, so that an early one is not lost.
LIVE_BOT = """
import json, os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(json.dumps({"event": "matrix_live", "user": os.environ["MATRIX_USER_ID"], "version": 1}), flush=True)
signal.sigwait({signal.SIGTERM})
"""

ON_CUE = """
import os, pathlib, time
while not pathlib.Path(os.environ["MATRIX_DB_PATH"]).with_name("cue").exists():
    time.sleep(0.01)
"""


def ends_on_cue(code: str) -> list[str]:
    """Return the command of a bot that runs `code` after `give_cue`: its start is over by then."""
    return [sys.executable, "-c", ON_CUE + code]


def give_cue(bot: RunningBot) -> None:
    """Let a bot of `ends_on_cue` run its code."""
    (bot.folder / "cue").touch()
