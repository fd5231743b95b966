"""What can go wrong around the bot: one clear line, an exit code that tells what it was, and nothing lost."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from greenroom import must
from greenroom.bot_process import BotSettings, matrix_environment
from greenroom.bot_ready import running_for
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.waiting import scaled
from tests.e2e.bot_runs import cpu_s, lines_for_a_person, matrix_variables, run_bot
from tests.e2e.scene import finish, set_up


@pytest.fixture
async def env(homeserver, tmp_path):
    """The variables of a bot that could start."""
    account = await register(homeserver, unique_localpart("bot", "failures"))
    return matrix_environment(homeserver, account, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "code", "says"),
    [
        ({"MATRIX_PASSWORD": "wrong"}, 4, "refuses the password"),
        ({"MATRIX_ACCESS_TOKEN": "syt_wrong"}, 4, "refuses MATRIX_ACCESS_TOKEN"),
        ({"MATRIX_DB_PATH": "/proc/nowhere/bot.db"}, 2, "MATRIX_DB_PATH /proc/nowhere/bot.db cannot be used"),
        ({"MATRIX_STORE_PATH": "/proc/nowhere"}, 2, "MATRIX_STORE_PATH /proc/nowhere cannot be used"),
        ({"MATRIX_HEALTH_FILE": "/proc/nowhere"}, 2, "MATRIX_HEALTH_FILE /proc/nowhere cannot be used"),
        ({"MATRIX_HOMESERVER": ""}, 2, "MATRIX_HOMESERVER is not set"),
        ({"MATRIX_HOMESERVER": "localhost"}, 2, "MATRIX_HOMESERVER is not an http(s) URL"),
        ({"MATRIX_RESPONDER": "no.such:thing"}, 2, "MATRIX_RESPONDER 'no.such:thing' cannot be loaded"),
    ],
)
async def test_each_mistake_is_one_clear_line_and_an_exit_code(env, wrong, code, says):
    """A wrong setting or password ends the bot with one line that names it, without a traceback."""
    ended = await run_bot({**env, **wrong})

    (line,) = lines_for_a_person(ended.stderr)
    assert says in line
    assert ended.returncode == code


async def test_an_access_token_whose_keys_are_lost_ends_with_code_4_and_the_cure(env, homeserver, tmp_path):
    """After a local reset the homeserver still holds the keys of the token's device, and refuses others."""
    async with MatrixApi(homeserver.url) as api:
        who = {"type": "m.id.user", "user": env["MATRIX_USER_ID"]}
        login = {"type": "m.login.password", "identifier": who, "password": env.pop("MATRIX_PASSWORD")}
        token = (await api.call("POST", path("login"), json=login))["access_token"]
    settings = BotSettings([sys.executable, "-m", "greenroom_bot"], tmp_path, {**env, "MATRIX_ACCESS_TOKEN": token})
    async with settings.running() as greenroom:
        (signed_in,) = greenroom.events("logged_in")
    shutil.rmtree(env["MATRIX_STORE_PATH"])

    for database in ("kept", "lost"):
        if database == "lost":
            Path(env["MATRIX_DB_PATH"]).unlink()
        ended = await run_bot({**env, "MATRIX_ACCESS_TOKEN": token})

        (line,) = lines_for_a_person(ended.stderr)
        assert f"MATRIX_ACCESS_TOKEN belongs to the device {signed_in['device_id']}" in line
        assert "Log in once more for a new token" in line
        assert ended.returncode == 4


async def test_a_damaged_database_is_named_with_its_cure(env, tmp_path):
    """A damaged database ends the bot with one line that names a local reset as the cure; the file stays as it is."""
    damaged, content = tmp_path / "lambda_matrix.db", b"this is no database at all, whatever its name says" * 100
    damaged.write_bytes(content)

    ended = await run_bot(env)

    (line,) = lines_for_a_person(ended.stderr)
    assert "is damaged" in line
    assert "local-only" in line
    assert ended.returncode == 1
    assert damaged.read_bytes() == content


async def test_a_second_bot_on_the_same_database_is_refused(bot):
    """A second bot on the database of a running bot ends with the pid of the first, which goes on."""
    first = await bot()

    ended = await run_bot(matrix_variables(first.env))

    (line,) = lines_for_a_person(ended.stderr)
    assert f"in use by another bot (pid {first.pid})" in line
    assert ended.returncode == 2
    must.be_running(first)


async def test_a_homeserver_that_is_away_at_the_start_is_waited_for(greenroom, fresh_homeserver):
    """A bot that starts without its homeserver logs that it waits, and goes live when the homeserver comes."""
    server = await fresh_homeserver()
    account = await register(server, "bot")
    folder = greenroom.run.new_folder("bot")
    await server.stop()

    env = matrix_environment(server, account, folder)
    settings = BotSettings([sys.executable, "-m", "greenroom_bot"], folder, env, ready=running_for(0.1))
    async with settings.running(greenroom.run) as waiting:
        seen = await waiting.until_logged("waiting")
        await server.start_again()
        await waiting.until_logged("matrix_live", timeout_s=40)

    assert seen["what"] == "homeserver"
    assert seen["retry_in_s"] > 0


async def test_a_homeserver_that_dies_and_comes_back_loses_no_message(fresh_homeserver, person, bot):
    """While its homeserver is away the bot waits with growing pauses and hardly uses the processor; then it answers."""
    server = await fresh_homeserver()
    alice, greenroom = await person("alice", server=server), await bot(server=server)
    scene = await set_up(alice, greenroom)

    await server.kill()
    await greenroom.until_logged("homeserver_unreachable")
    before_s = cpu_s(greenroom.pid)
    await asyncio.sleep(3.0)  # the length of the outage is what is tested, not a wait for something
    used_s = cpu_s(greenroom.pid) - before_s
    await server.start_again()
    await must.answer(alice, greenroom, scene.chat, "welcome back", "welcome back", timeout_s=40)

    assert used_s < 0.3
    assert len(greenroom.events("homeserver_unreachable")) < 12


async def test_a_revoked_token_ends_the_bot_at_once_and_the_next_start_logs_in_again(person, bot, homeserver):
    """A bot whose session was revoked ends with code 4 and one line; its next start uses the same device and rooms."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    (before,) = greenroom.events("logged_in")

    await revoke(greenroom, homeserver)
    await must.end_by_itself(greenroom, code=4, timeout_s=10)
    (line,) = lines_for_a_person(greenroom.log_text())
    await greenroom.start_again()
    (after,) = greenroom.events("logged_in")
    answer = await must.answer(alice, greenroom, scene.chat, "again")

    assert "our session is over" in line
    assert after["device_id"] == before["device_id"]
    assert answer.body == "again"


async def test_sigterm_during_work_stops_within_seconds(person, bot, tmp_path):
    """A bot that waits for its responder stops within seconds of SIGTERM, and answers after the next start."""
    alice, go_on = await person("alice"), tmp_path / "go on"
    greenroom = await bot(env={"MATRIX_RESPONDER": "tests.e2e.slow_responder:make", "SLOW_UNTIL": str(go_on)})
    scene = await set_up(alice, greenroom)
    sent = await alice.send_text(scene.chat, "take your time")
    await greenroom.until_logged("responder_asked")

    code = await greenroom.stop(timeout_s=scaled(8))
    go_on.touch()
    await greenroom.start_again()
    await must.say(alice, greenroom, scene.chat, "take your time", after=sent)

    assert code == 0


async def test_an_odd_answer_concerns_one_message(person, bot):
    """An answer that Synapse cannot store is mended, a responder that exits is told, and the chat goes on."""
    alice, greenroom = await person("alice"), await bot(env={"MATRIX_RESPONDER": "tests.e2e.odd_responder:make"})
    scene = await set_up(alice, greenroom)

    await must.answer(alice, greenroom, scene.chat, "surrogate", containing="half \ufffd")
    await must.answer(alice, greenroom, scene.chat, "exit", containing="answering this failed")
    await must.answer(alice, greenroom, scene.chat, "and now?", containing="and now?")
    await finish(greenroom)


async def revoke(greenroom, homeserver) -> None:
    """Log the bot's device out. A login on the same device gives a token to do it with."""
    identifier = {"type": "m.id.user", "user": greenroom.user_id}
    login = {"type": "m.login.password", "password": greenroom.env["MATRIX_PASSWORD"], "identifier": identifier}
    login["device_id"] = greenroom.events("logged_in")[-1]["device_id"]
    async with MatrixApi(homeserver.url) as api:
        token = (await api.call("POST", path("login"), json=login))["access_token"]
        await api.log_out(token)
