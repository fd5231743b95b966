"""Triggers: what a promises file may say of them, and what becomes of each kind when it is pulled."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from greenroom.bot_process import BotSettings
from greenroom.bot_ready import log_line
from greenroom.errors import WrongFile
from greenroom.processes.runs import NO_RUN
from greenroom.scenarios import BotPromises, Observed, scenarios_for
from greenroom.scenarios.load import parse_promises
from greenroom.scenarios.observed import Question, Why
from greenroom.scenarios.trigger import Pulled, Trigger, Triggers
from greenroom.waiting import NotYet, until

HOOK = {"http": {"url": "http://127.0.0.1:${PORT}/hook", "json": {"text": "{word}"}}}


def promises(trigger: object, **more: object) -> BotPromises:
    """Return the promises of a bot with a trigger."""
    given = {"command": [sys.executable, "-c", "${PORT}"], "trigger": trigger, **more}
    return parse_promises(given, "x", Path("/"))


@asynccontextmanager
async def running(tmp_path: Path, code: str, **variables: str):
    """Run a bot of a few lines that never talks to a homeserver."""
    settings = BotSettings(
        command=[
            sys.executable,
            "-c",
            f"import os, signal, sys, time\n{code}\nprint('ready', flush=True)\ntime.sleep(60)",
        ],
        folder=tmp_path,
        cwd=tmp_path,
        ready=log_line("ready"),
        variables=variables,
    )
    async with settings.running() as bot:
        yield bot


async def pulled(trigger: dict, bot, *, timeout_s: float = 5.0) -> tuple[str, Pulled]:
    """Pull a trigger with the word `w1`, and wait for its outcome. Return its text and the outcome."""
    triggers = Triggers(Trigger.model_validate(trigger), NO_RUN, timeout_s=timeout_s)
    text, outcome = triggers.pull(bot, "w1", "!room:x")
    await triggers.close()
    return text, outcome


# -- the file


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"trigger": {}}, "trigger: takes one of http, signal, file, command, seconds, not 0"),
        (
            {"trigger": {**HOOK, "signal": "SIGUSR1"}},
            "trigger: takes one of http, signal, file, command, seconds, not 2",
        ),
        ({"trigger": {"signal": "SIGKILL"}}, "trigger.signal: there is no signal 'SIGKILL' that a bot can handle"),
        ({"trigger": {"signal": "usr1"}}, "trigger.signal: there is no signal 'usr1'"),
        ({"trigger": {"file": {"path": "../x", "text": "{word}"}}}, "is not a path inside the bot's folder"),
        ({"trigger": {"command": "say 'x"}}, "trigger.command: cannot read the command"),
        ({"trigger": {"http": {"url": "http://x/${PROT}"}}, "says": "a"}, "trigger: there is no variable \\${PROT}"),
        ({"trigger": HOOK, "ask": "!say"}, "ask: goes without this `trigger`"),
        ({"trigger": {"signal": "SIGUSR1"}}, "has {word}, but `trigger` has none, so the bot cannot know that word"),
        ({"trigger": HOOK, "says": "a {word}", "answer": "b"}, "has `says` and `answer`, which are the same"),
        ({"trigger": HOOK, "kind": "appservice"}, "trigger: is not for an application service, which is asked in"),
        ({"trigger": {"seconds": 3}}, "trigger.seconds: goes with `ask`, which sets the time"),
        ({"trigger": {"seconds": 0}, "ask": "in 0 s {word}"}, "trigger.seconds: input should be greater than 0"),
        ({"says": "{word}"}, "has `says`, which goes with `trigger`; without a trigger write `answer`"),
        (
            {"trigger": HOOK, "promises": {"broken-sync": "yes"}},
            "broken-sync is only for a bot that is asked in the chat and s",
        ),
        ({"trigger": HOOK, "promises": {"message-while-down": "once"}}, "no HTTP request and no signal waits for it"),
        ({"promises": {"says": "yes"}}, "says is only for a bot with `trigger: http`"),
        ({"trigger": {"http": {**HOOK["http"], "body": "x"}}}, "trigger.http: takes `json` or `body`, not both"),
        (
            {"trigger": HOOK, "command": sys.executable},
            r"trigger: the bot is not told \${PORT}; mention it in `command`, `env` or `config` too",
        ),
    ],
)
def test_a_mistake_in_a_trigger_is_one_clear_line(given, problem):
    """The line names the field and what to write instead."""
    with pytest.raises(WrongFile, match=problem) as told:
        parse_promises({"command": [sys.executable, "-c", "${PORT}"], **given}, "x", Path("/"))

    assert "\n" not in str(told.value)


def test_says_is_another_name_for_answer():
    """The rules know one field."""
    assert promises(HOOK, says="alert {word}").answer == "alert {word}"


def test_a_bot_with_a_trigger_gets_the_scenarios_that_make_sense_for_it():
    """`says` stands for `answers`; what a sync brings, and what comes while it is down, depends on the trigger."""
    hook = [one.name for one in scenarios_for(promises(HOOK))]
    spool = [one.name for one in scenarios_for(promises({"file": {"path": "spool/{word}", "text": ""}}))]
    asked = [one.name for one in scenarios_for(BotPromises(command="x"))]

    assert hook[0] == spool[0] == "says"
    assert not {"answers", "ignores-notices", "broken-sync", "gateway-errors", "message-while-down"} & set(hook)
    assert {"trigger-while-server-away", "lost-response", "killed-after-answer", "dead-token"} <= set(hook)
    assert set(spool) - set(hook) == {"message-while-down", "burst-while-down"}
    assert not {"says", "trigger-while-server-away", "trigger-while-gateway-errors"} & set(asked)


def test_a_bot_with_a_trigger_reads_no_encrypted_message():
    """Only the scenarios about what it says are run: for a new device, and in a room that is switched to encryption."""
    names = [one.name for one in scenarios_for(promises(HOOK, encrypted=True))]
    more = set(names) - {one.name for one in scenarios_for(promises(HOOK))}

    assert more == {"new-device", "encryption-switched-on"}


def test_a_bot_that_is_told_to_speak_later_is_asked():
    """It has what a bot that answers has, but for an owner elsewhere, and two for the moment when it must speak."""
    later = promises({"seconds": 3}, ask="!remindme 3s; {word}")
    asked = [one.name for one in scenarios_for(BotPromises(command="x")) if not one.owner_elsewhere]

    assert [one.name for one in scenarios_for(later)] == [*asked, "due-while-down", "due-while-server-away"]
    assert Observed.from_json(Observed("due-while-down", later).to_json()).promises.later_s == 3


def test_a_bot_that_accepts_no_invite_is_not_invited_by_a_stranger():
    """With `invites: nobody` the scenario would test nothing."""
    nobody = BotPromises(command="x", invites="nobody")

    assert "invite-from-a-stranger" not in [one.name for one in scenarios_for(nobody)]


def test_the_kept_record_has_no_text_of_the_trigger():
    """A URL, a header or a body may hold a secret. The kind of the trigger is all that a verdict needs."""
    secret = {
        "http": {"url": "http://x/s3cret", "headers": {"a": "s3cret"}, "json": {"key": "s3cret", "text": "{word}"}}
    }
    observed = Observed("says", promises(secret))
    observed.questions.append(Question(Why.FIRST, "!r", "", "POST", "w", 1.0, pulled=Pulled("HTTP 200", True, 2.0)))

    text = observed.to_json()
    again = Observed.from_json(text)

    assert "s3cret" not in text
    assert again.promises.trigger.http is not None
    assert again.questions == observed.questions
    assert again.to_json() == text


# -- pulling


@asynccontextmanager
async def hook(status: int = 200, *, wait_s: float = 0.0):
    """Run an HTTP server. Yield its port and the requests that came."""
    came = []

    async def handle(request: web.Request) -> web.Response:
        came.append((request.method, request.path_qs, request.headers.get("X-Key"), await request.text()))
        await asyncio.sleep(wait_s)
        return web.Response(status=status)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield str(runner.addresses[0][1]), came
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("status", "accepted"), [(200, True), (202, True), (401, False), (503, False)])
async def test_an_http_trigger_is_accepted_or_refused_by_its_status(status, accepted, tmp_path):
    """Variables and the word are filled in everywhere. The text shows no query, no header and no body."""
    request = {
        "url": "http://127.0.0.1:${PORT}/${ROOM}?key=s3cret",
        "headers": {"X-Key": "k-{word}"},
        "json": {"texts": ["alert {word}"], "n": 1},
    }

    async with hook(status) as (port, came), running(tmp_path, "", PORT=port) as bot:
        text, outcome = await pulled({"http": request}, bot)

    assert came == [("POST", "/!room:x?key=s3cret", "k-w1", json.dumps({"texts": ["alert w1"], "n": 1}))]
    assert (outcome.outcome, outcome.accepted) == (f"HTTP {status}", accepted)
    assert text == f"POST http://127.0.0.1:{port}/!room:x with w1"


async def test_nobody_at_the_port_refuses_the_trigger(tmp_path):
    """A bot that is down cannot take a trigger, and its caller knows."""
    async with hook() as (port, _):
        pass
    async with running(tmp_path, "", PORT=port) as bot:
        _, outcome = await pulled(HOOK, bot)

    assert outcome.accepted is False
    assert outcome.outcome.startswith("ClientConnectorError: ")


async def test_a_trigger_without_an_answer_is_neither_accepted_nor_refused(tmp_path):
    """Nobody can say whether the bot has taken it."""
    async with hook(wait_s=5) as (port, _), running(tmp_path, "", PORT=port) as bot:
        _, outcome = await pulled(HOOK, bot, timeout_s=0.1)

    assert (outcome.outcome, outcome.accepted) == ("no outcome within 0.1 s", None)


async def test_a_signal_reaches_the_bot(tmp_path):
    """Whether the bot acts on it, nobody can say."""
    code = "signal.signal(signal.SIGUSR1, lambda *_: open('came', 'w').close())"
    async with running(tmp_path, code) as bot:
        text, outcome = await pulled({"signal": "SIGUSR1"}, bot)
        await until(lambda: (tmp_path / "came").exists() or NotYet("no file"), "the signal to come")

    assert (text, outcome.outcome, outcome.accepted) == ("SIGUSR1", "sent", None)


@pytest.mark.parametrize(("append", "text"), [(False, "w1"), (True, "oldw1")])
async def test_a_file_is_written_into_the_bots_folder(append, text, tmp_path):
    """It is replaced at once, or appended to."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "w1").write_text("old")
    async with running(tmp_path, "") as bot:
        shown, outcome = await pulled({"file": {"path": "spool/{word}", "text": "{word}", "append": append}}, bot)

    assert (shown, outcome.outcome) == ("the file spool/w1 with w1", "written")
    assert (tmp_path / "spool" / "w1").read_text() == text
    assert [file.name for file in (tmp_path / "spool").iterdir()] == ["w1"]


@pytest.mark.parametrize(
    ("code", "outcome", "accepted"),
    [
        ("open(sys.argv[1], 'w').write(os.environ['KEY'])", "exit code 0", True),
        ("sys.exit('no route')", "exit code 1: no route", False),
    ],
)
async def test_a_command_is_accepted_or_refused_by_its_exit_code(code, outcome, accepted, tmp_path):
    """It runs in the bot's working directory with the bot's variables; its last line says why it failed."""
    command = f'{sys.executable} -c "import os, sys; {code}" {{word}}'
    async with running(tmp_path, "", KEY="k") as bot:
        text, became = await pulled({"command": command}, bot)

    assert (became.outcome, became.accepted) == (outcome, accepted)
    assert text == f"the command {Path(sys.executable).name} with w1"
    assert not accepted or (tmp_path / "w1").read_text() == "k"


async def test_a_bot_with_an_http_trigger_is_ready_when_that_port_accepts_connections(tmp_path):
    """It may never sync. The reason names the port."""
    listens = Trigger.model_validate(HOOK).listens()
    async with hook() as (port, came), running(tmp_path, "", PORT=port) as bot:
        assert await listens(bot) is None
    assert came == []

    async with running(tmp_path, "", PORT=port) as bot:
        assert await listens(bot) == f"127.0.0.1:{port}, which its trigger calls: ConnectionRefusedError"
