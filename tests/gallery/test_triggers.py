"""Each kind of trigger makes a bot speak: a file, a command and a signal, beside the HTTP request of the good bot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from greenroom.scenarios import BotPromises, Verdict, run_all
from greenroom.scenarios.load import parse_promises

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).parent / "triggered"
FILE = {"file": {"path": "spool/{word}.txt", "text": "alert {word}"}}
WRITE = (
    "import os, pathlib, sys; draft = pathlib.Path(os.environ['SPOOL'], '.' + sys.argv[1]); "
    "draft.write_text('alert ' + sys.argv[1]); draft.rename(draft.with_name(sys.argv[1]))"
)
COMMAND = {"command": f'{sys.executable} -c "{WRITE}" {{word}}'}


def spool(trigger: dict, says: str) -> BotPromises:
    """Return the promises of the bot that looks into a folder."""
    env = {
        "BOT_TOKEN": "${MATRIX_ACCESS_TOKEN}",
        "BOT_PORT": "${PORT}",
        "SPOOL": "${FOLDER}/spool",
        "BOT_ROOM": "${ROOM}",
    }
    given = {"name": "spool", "command": "python spool.py", "env": env, "trigger": trigger, "says": says}
    ready = {"http": "http://127.0.0.1:${PORT}/"}
    return parse_promises({**given, "ready": ready, "invites": "nobody"}, "x", FOLDER)


@pytest.mark.parametrize(
    ("trigger", "says", "only"),
    [
        (FILE, "alert {word}", ["says", "message-while-down"]),
        (COMMAND, "alert {word}", ["says", "message-while-down"]),
        ({"signal": "SIGUSR1"}, "alarm", ["says", "trigger-while-server-away"]),
    ],
    ids=["file", "command", "signal"],
)
async def test_a_bot_speaks_once_for_each_trigger(trigger, says, only, greenroom, homeserver):
    """Also for one from its downtime, if the trigger can wait for the bot."""
    results = await run_all(greenroom, homeserver, spool(trigger, says), only=only)

    assert [(r.scenario, r.verdict, r.reason) for r in results] == [
        (only[0], Verdict.PASSED, ""),
        (only[1], Verdict.DOES, ""),
    ]
    assert [r.way for r in results][1] in ("once", "kept")
