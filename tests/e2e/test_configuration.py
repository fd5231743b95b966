"""A bot gets its configuration file, its token, an administrator's token and a port without a wrapper script."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom import must
from greenroom.bot_process import RunningBot
from greenroom.bot_ready import http_ok
from greenroom.errors import Misuse
from greenroom.people.accounts import Account

pytestmark = pytest.mark.e2e

BOT = Path(__file__).with_name("configured_bot.py")
CONFIG = """{
  "homeserver": "${MATRIX_HOMESERVER}",
  "token": "${MATRIX_ACCESS_TOKEN}",
  "admin": "${ADMIN_TOKEN}", "admin_id": "${ADMIN_USER_ID}",
  "port": ${PORT}
}"""


async def test_a_bot_gets_what_its_configuration_file_mentions(person, bot, greenroom):
    """The token is the bot's, the administrator exists, and the port stays the same after a restart."""
    alice = await person("alice")
    echo = await bot(
        [sys.executable, str(BOT), "${FOLDER}/sub/config.json"],
        config={"sub/config.json": CONFIG},
        ready=http_ok("http://127.0.0.1:${PORT}/"),
    )
    started = await echo.until_logged("started")
    given = json.loads((echo.folder / "sub" / "config.json").read_text())

    assert started["me"]["user_id"] == echo.user_id
    assert started["admin"] == given["admin_id"] != echo.user_id
    await must.answer(alice, echo, await must.chat(alice, echo), "hello", "you said: hello")
    assert {given["token"], given["admin"]} <= greenroom.record.secrets
    assert not {"PORT", "ADMIN_TOKEN", "MATRIX_ACCESS_TOKEN"} & echo.env.keys()

    await echo.restart()

    assert (await echo.until_logged("started"))["port"] == started["port"]


async def test_a_second_bot_of_an_account_leaves_the_token_of_the_first(bot):
    """Each bot that mentions the token is a device of its own."""
    config = {
        "config.json": '{"homeserver": "${MATRIX_HOMESERVER}", "token": "${MATRIX_ACCESS_TOKEN}", "port": ${PORT}}'
    }
    command = [sys.executable, str(BOT), "${FOLDER}/config.json"]
    first = await bot(command, config=config)

    second = await bot(command, config=config, account=account_of(first))
    await first.restart()

    assert (await first.until_logged("started"))["me"]["user_id"] == second.user_id
    assert (await first.until_logged("started"))["me"] != (await second.until_logged("started"))["me"]


async def test_an_unknown_variable_is_refused_before_the_bot_starts(bot):
    """The line names the file and the variable."""
    with pytest.raises(Misuse, match=r"^a.yaml: there is no variable \$\{MATRIX_TOKN\}"):
        await bot("python -c pass", config={"a.yaml": "${MATRIX_TOKN}"})


def account_of(bot: RunningBot) -> Account:
    """Return the account of a bot, without a token."""
    return Account(bot.user_id, bot.env["MATRIX_PASSWORD"])


PROMISES = """
command: python configured_bot.py ${FOLDER}/config.json
ready: {http: "http://127.0.0.1:${PORT}/"}
config:
  config.json: |
    {"homeserver": "${MATRIX_HOMESERVER}", "token": "${MATRIX_ACCESS_TOKEN}", "port": ${PORT}}
"""


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ("ask: '{bot}: {word}'\npromises: {answers: yes}", 0, "answers   yes  passed"),
        ('ask: \'{"say": "{word}"}\'\npromises: {answers: yes}', 0, "answers   yes  passed"),
        ("comand: x", 2, "bot.yaml:6:1: comand: there is no such field; did you mean 'command'?"),
    ],
    ids=["mention", "json", "mistake"],
)
def test_the_scenarios_run_a_configured_bot(tmp_path, homeserver, more, code, says):
    """A question may have braces of its own. A mistake in the file is one line and exit code 2."""
    shutil.copy(BOT, tmp_path)
    (tmp_path / "bot.yaml").write_text(f"{PROMISES.strip()}\n{more}\n")
    command = [sys.executable, "-m", "greenroom", "scenarios", "--promises", "bot.yaml", "--only", "answers"]

    answer = subprocess.run(
        [*command, "--backend", str(homeserver.backend)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    said = answer.stdout + answer.stderr
    assert answer.returncode == code, said
    assert says in said
    if code == 2:
        assert said.count("\n") == 1
