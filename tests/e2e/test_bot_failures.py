"""What can go wrong around the bot: one clear line, the exit code of the design, and nothing lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from greenroom.bot_process import BotSettings, matrix_environment, running_for
from greenroom.checks import message
from greenroom.people.accounts import register, unique_localpart
from greenroom.waiting import NotYet, scaled, until
from tests.e2e.scene import ask, set_up


async def run_bot(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m greenroom_bot` to its end with these variables only."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MATRIX_")}
    argv = [sys.executable, "-m", "greenroom_bot", *args]
    return await asyncio.to_thread(
        subprocess.run, argv, env={**clean, **env}, capture_output=True, text=True, timeout=scaled(60), check=False
    )


def lines_for_a_person(stderr: str) -> list[str]:
    """What is not a structured log line."""
    return [line for line in stderr.splitlines() if not line.startswith("{")]


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
    """No traceback, and the line names the setting or the account."""
    ended = await run_bot({**env, **wrong})

    (line,) = lines_for_a_person(ended.stderr)
    assert says in line
    assert ended.returncode == code


async def test_a_damaged_database_is_named_with_its_cure(env, tmp_path):
    """The file is left as it is; a local reset is the cure, and nothing is lost by it."""
    damaged = tmp_path / "lambda_matrix.db"
    damaged.write_bytes(b"this is no database at all, whatever its name says" * 100)

    ended = await run_bot(env)

    (line,) = lines_for_a_person(ended.stderr)
    assert "is damaged" in line
    assert "local-only" in line
    assert ended.returncode == 1
    assert damaged.read_bytes().startswith(b"this is no database")


async def test_a_second_bot_on_the_same_database_is_refused(homeserver, bot):
    """It names the first one's pid; the first goes on."""
    first = await bot()

    ended = await run_bot({k: v for k, v in first.env.items() if k.startswith("MATRIX_")})

    (line,) = lines_for_a_person(ended.stderr)
    assert f"in use by another bot (pid {first.pid})" in line
    assert ended.returncode == 2
    first.check_alive()


async def test_a_homeserver_that_is_away_at_the_start_is_waited_for(greenroom, fresh_homeserver):
    """Visibly, in the log; the bot goes live when the server comes."""
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
    """The bot waits with a growing pause and answers afterwards; it does not spin meanwhile."""
    server = await fresh_homeserver()
    alice, greenroom = await person("alice", server=server), await bot(server=server)
    scene = await set_up(alice, greenroom)

    await server.kill()
    await greenroom.until_logged("homeserver_unreachable")
    before_s = cpu_s(greenroom.pid)
    await asyncio.sleep(3.0)  # the length of the outage is what is tested, not a wait for something
    used_s = cpu_s(greenroom.pid) - before_s
    await server.start_again()
    sent = await alice.send_text(scene.chat, "welcome back")
    await alice.until(message("welcome back", sender=greenroom.user_id, after=sent), timeout_s=40, watch=[greenroom])

    assert used_s < 0.3
    assert len(greenroom.events("homeserver_unreachable")) < 12


async def test_a_revoked_token_ends_the_bot_at_once_and_the_next_start_logs_in_again(person, bot, homeserver):
    """Exit code 4, one line, no spinning; the device and its rooms stay the same."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    (before,) = greenroom.events("logged_in")

    await revoke(greenroom, homeserver)
    code = await greenroom.wait(scaled(10))
    said = lines_for_a_person(greenroom.log_text())
    await greenroom.start_again()

    assert code == 4
    assert len(said) == 1
    assert "our session is over" in said[0]
    assert greenroom.events("logged_in")[0]["device_id"] == before["device_id"]
    assert (await ask(alice, greenroom, scene.chat, "again")).body == "again"


async def test_sigterm_during_work_stops_within_seconds(person, bot):
    """A slow responder does not hold up the stop; its message is answered after the next start."""
    alice = await person("alice")
    slow = {"MATRIX_RESPONDER": "tests.e2e.slow_responder:make", "SLOW_S": "60"}
    greenroom = await bot(env=slow)
    scene = await set_up(alice, greenroom)
    sent = await alice.send_text(scene.chat, "take your time")
    await until(lambda: greenroom.events("responder_asked") or NotYet("not asked yet"), "the responder to be asked")

    code = await greenroom.stop(timeout_s=scaled(8))
    greenroom.env["SLOW_S"] = "0"
    greenroom._process.command.env["SLOW_S"] = "0"  # type: ignore[index]
    await greenroom.start_again()
    await alice.until(message("take your time", sender=greenroom.user_id, after=sent), watch=[greenroom])

    assert code == 0


async def revoke(greenroom, homeserver) -> None:
    """Log every device of the bot's account out, as a password change would."""
    from greenroom.people.matrix_api import MatrixApi

    async with MatrixApi(homeserver.url) as api:
        login = {"type": "m.login.password", "password": greenroom.env["MATRIX_PASSWORD"],
                 "identifier": {"type": "m.id.user", "user": greenroom.user_id}}  # fmt: skip
        token = (await api.call("POST", "/_matrix/client/v3/login", json=login))["access_token"]
        await api.call("POST", "/_matrix/client/v3/logout/all", json={}, token=token)


def cpu_s(pid: int) -> float:
    """Seconds of processor time used by a process so far (fields 14 and 15 of its stat)."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
