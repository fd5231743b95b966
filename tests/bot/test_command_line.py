"""`python -m greenroom_bot`: its help, its exit codes, and one clear line for each thing that can be wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
import structlog

from greenroom_bot.__main__ import main
from greenroom_bot.config import settings_table
from tests.bot.factory import ME
from tests.fake_homeserver import PASSWORD


class Outcome:
    """What one run of the command came to; `complaints` are the lines that are no log."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out = code, out.decode()
        lines = err.decode().splitlines()
        self.log = [json.loads(line) for line in lines if line.startswith("{")]
        self.complaints = [line for line in lines if not line.startswith("{")]


@pytest.fixture
def environ(server, tmp_path):
    """The settings of a bot of the fake server; where nothing is asked of it, it need not answer."""
    given = {"HOMESERVER": server.url, "USER_ID": ME, "PASSWORD": PASSWORD}
    files = {"DB_PATH": str(tmp_path / "bot.db"), "STORE_PATH": str(tmp_path / "keys")}
    return {f"MATRIX_{name}": value for name, value in {**given, **files}.items()}


async def begun(environ, *args):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MATRIX_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "greenroom_bot", *args,
        env={**clean, **environ}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def outcome(environ, *args):
    process = await begun(environ, *args)
    out, err = await process.communicate()
    return Outcome(process.returncode, out, err)


@pytest.fixture
def complaints(environ, monkeypatch, capsys):
    """Run the command in this process with some settings changed; return exit code and the lines that are no log."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(**changed):
        for name, value in {**environ, **changed}.items():
            monkeypatch.setenv(name, value)
        code = main([])
        return code, Outcome(code, b"", capsys.readouterr().err.encode()).complaints

    yield run
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_help_lists_every_setting_and_the_exit_codes(capsys):
    """Settings come from the environment, so this is where people look."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(name in shown for name, _, _ in settings_table())
    for words in ("0 stopped", "1 failed", "2 configuration", "3 could not tell", "4 credentials"):
        assert words in shown


def test_a_missing_variable_is_a_configuration_mistake(complaints):
    """Exit 2."""
    code, lines = complaints(MATRIX_PASSWORD="")

    assert (code, lines) == (2, ["bot: neither MATRIX_PASSWORD nor MATRIX_ACCESS_TOKEN is set"])


@pytest.mark.parametrize("variable", ["MATRIX_DB_PATH", "MATRIX_STORE_PATH"])
def test_a_path_that_cannot_be_written_is_a_configuration_mistake(complaints, tmp_path, variable):
    """Exit 2, before anything is asked of the server."""
    (tmp_path / "file").touch()

    code, (line,) = complaints(**{variable: str(tmp_path / "file" / "below")})

    assert code == 2
    assert line.startswith(f"bot: {variable} ")
    assert "Not a directory" in line


def test_a_corrupt_database_is_a_failure_with_a_cure(complaints, environ):
    """Exit 1."""
    Path(environ["MATRIX_DB_PATH"]).write_bytes(b"garbage " * 1000)

    code, (line,) = complaints()

    assert code == 1
    assert "is damaged" in line
    assert "local-only" in line


def test_somebody_elses_database_is_a_configuration_mistake(complaints, environ):
    """Exit 2."""
    theirs = sqlite3.connect(environ["MATRIX_DB_PATH"])
    theirs.execute("CREATE TABLE precious (x)")
    theirs.close()

    code, (line,) = complaints()

    assert code == 2
    assert "some other program's database" in line


def test_a_responder_that_cannot_be_loaded_is_a_configuration_mistake(complaints):
    """Exit 2."""
    code, lines = complaints(MATRIX_RESPONDER="no_such_module:x")

    assert (code, len(lines)) == (2, 1)


TASK_THAT_EXITS = """
import asyncio, sys

async def ends():
    sys.exit(0)

def make():
    async def respond(question):
        if question.body == "trouble":
            await asyncio.gather(ends())
        return question.body
    return respond
"""


async def test_a_task_of_a_responder_that_exits_does_not_end_the_bot(server, environ, tmp_path):
    """asyncio lets SystemExit out of the event loop; the person is told, and the next message is answered."""
    server.space("!chat")
    chat = server.chat()
    (tmp_path / "exiting.py").write_text(TASK_THAT_EXITS)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = await begun({**environ, "MATRIX_RESPONDER": "exiting:make", "PYTHONPATH": path})
    await server.until(lambda: server.count("GET /sync") >= 4, "the first long poll")

    await server.say(chat, "trouble")
    await server.say(chat, "fine")
    await server.until(lambda: "fine" in chat.said() or process.returncode is not None)
    assert process.returncode is None
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    ended = Outcome(process.returncode, out, err)

    assert chat.said() == ["Sorry, answering this failed. It is in my log.", "fine"]
    assert (ended.code, ended.complaints) == (0, [])
    assert [line["seen"] for line in ended.log if line["event"] == "task_exited"] == ["SystemExit"]


async def test_a_wrong_password_is_a_matter_of_credentials(environ):
    """Exit 4."""
    ended = await outcome({**environ, "MATRIX_PASSWORD": "wrong"})

    assert ended.code == 4
    (line,) = ended.complaints
    assert "refuses the password of @bot:hs1: M_FORBIDDEN" in line


async def test_a_revoked_token_is_a_matter_of_credentials(server, environ):
    """Exit 4, when it happens while the bot is live, in one line."""
    server.fail("GET /sync", 200, {"next_batch": "s1", "rooms": {}})
    server.fail("GET /sync", 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "gone"}, times=99)

    ended = await outcome(environ)

    assert ended.code == 4
    assert ended.complaints == [
        "bot: the homeserver says our session is over (M_UNKNOWN_TOKEN); the next start logs in again"
    ]
    assert server.count("GET /sync") == 2


async def test_a_signal_stops_a_live_bot_with_exit_0(server, environ):
    """It finishes what it has in hand, says goodbye, and complains about nothing."""
    process = await begun(environ)
    await server.until(lambda: server.count("GET /sync") >= 4, "the first long poll")

    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    ended = Outcome(process.returncode, out, err)

    assert (ended.code, ended.complaints) == (0, [])
    assert ended.log[-1]["event"] == "matrix_stopped"


def lose_session(server, environ):
    server.devices.clear()


def break_records(server, environ):
    with contextlib.closing(sqlite3.connect(environ["MATRIX_DB_PATH"], isolation_level=None)) as db:
        db.execute("DROP TABLE handled")


@pytest.mark.parametrize(
    ("breaks", "code", "says"),
    [(lose_session, 4, "our session is over (M_UNKNOWN_TOKEN)"), (break_records, 1, "records cannot be written")],
)
async def test_what_breaks_while_a_stopping_bot_finishes_its_work_is_still_told(server, environ, breaks, code, says):
    """A signal does not turn a failure into exit 0: one line, and the exit code of the failure."""
    server.space("!chat")
    chat, health, gate = server.chat(), Path(environ["MATRIX_DB_PATH"]).with_name("healthy"), asyncio.Event()
    process = await begun({**environ, "MATRIX_HEALTH_FILE": str(health)})
    await server.until(lambda: server.count("GET /sync") >= 4, "the first long poll")
    server.when("PUT .*/send/", gate.wait)
    await server.say(chat, "hello")
    await server.until(lambda: server.count("PUT .*/send/"))

    process.send_signal(signal.SIGTERM)
    await server.until(lambda: not health.exists(), "the signal to have arrived")
    breaks(server, environ)
    gate.set()
    out, err = await process.communicate()
    ended = Outcome(process.returncode, out, err)

    (line,) = ended.complaints
    assert says in line
    assert ended.code == code
    assert ended.log[-1]["event"] == "matrix_stopped"


async def test_a_signal_stops_a_bot_that_still_waits_for_its_server(server, environ):
    """Exit 0, not before the wait was visible."""
    server.fail("POST /login", 502, times=10**6)
    process = await begun(environ)
    await server.until(lambda: server.count("POST /login") >= 2)

    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    ended = Outcome(process.returncode, out, err)

    assert (ended.code, ended.complaints) == (0, [])
    assert [line["what"] for line in ended.log if line["event"] == "waiting"]


async def test_logs_are_one_json_object_a_line_and_hold_no_secret(server, environ):
    """On a pipe; stdout stays empty."""
    server.space("!chat")
    chat = server.chat()
    process = await begun({**environ, "MATRIX_LOG_LEVEL": "debug"})
    await server.until(lambda: server.count("GET /sync") >= 4)
    await server.say(chat, "a private matter")
    await server.until(lambda: chat.said())
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()

    assert out == b""
    events = [json.loads(line)["event"] for line in err.decode().splitlines()]
    assert {"matrix_live", "message_handled"} <= set(events)
    for secret in (PASSWORD, "private matter", *server.devices):
        assert secret not in err.decode()
