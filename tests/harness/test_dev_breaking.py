"""What the stage does to a dev bot: kill, freeze, thaw, and lose what it remembers."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import pytest

from greenroom.bot_process import BotSettings
from greenroom.bot_ready import running_for
from greenroom.commands.dev import parts as module
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.control import Wish, ask_from_inside
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import new_run
from greenroom.commands.dev.parts import BOT, Parts, with_url
from greenroom.commands.dev.stay import _watch_over
from greenroom.errors import HarnessError, Misuse
from greenroom.faults import FaultProxy
from greenroom.homeserver.choose import Choice
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Backend
from greenroom.homeserver.kind import find_kind
from greenroom.processes.procfs import is_frozen
from greenroom.waiting import until
from tests.harness.dev_state import STATE

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


class PartsWithABot(Parts):
    """Parts whose bot is a process that sleeps; starting it again is only noted."""

    async def act(self, action, parts):
        yield f"{action} {' '.join(parts)}"


@pytest.fixture
async def parts(tmp_path, monkeypatch):
    """The parts of a project with a bot that runs and has a database and a store."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    folder = DevFolder(tmp_path)
    folder.prepare()
    run = new_run(folder)
    bot = await BotSettings(SLEEPER, folder.bot, ready=running_for(0.01)).start(run)
    state = {**STATE, "bot": {**STATE["bot"], "pid": bot.pid, "since": "2026-01-01T00:00:00+00:00"}}
    paths = {"MATRIX_DB_PATH": folder.bot / "bot.db", "MATRIX_STORE_PATH": folder.bot / "keys"}
    paths["MATRIX_STORE_PATH"].mkdir()
    for name in ("bot.db", "bot.db-wal", "bot.db-shm", "keys/secret", "other"):
        (folder.bot / name).touch()
    yield PartsWithABot(folder, run, False, state, {name: str(path) for name, path in paths.items()}, bot=bot)
    await bot.kill()


async def lines(parts: Parts, *wish: str) -> list[str]:
    return [line async for line in Wish(*wish).carried_out(parts)]


def left(parts: Parts) -> set[str]:
    return {path.relative_to(parts.folder.bot).as_posix() for path in parts.folder.bot.rglob("*") if path.is_file()}


async def test_a_killed_bot_is_noted_at_once(parts):
    """It gets no time to tidy up, and `dev.json` has no pid of it."""
    bot = parts.bot

    assert await lines(parts, "kill", BOT) == ["bot: killed"]

    assert bot.returncode == -9
    noted = json.loads(parts.folder.state_file.read_text())[BOT]
    assert (noted["pid"], noted["since"]) == (None, None)
    assert (parts.bot, parts.ended[BOT]) == (None, "killed with SIGKILL")


async def test_a_frozen_bot_is_thawed(parts):
    """Twice is as good as once."""
    pid = parts.bot.pid

    assert await lines(parts, "freeze", BOT) == [f"bot: frozen, pid {pid}"]
    await until(lambda: is_frozen(pid), "the bot to be frozen", timeout_s=5)
    assert await lines(parts, "freeze", BOT) == [f"bot: frozen already, pid {pid}"]
    assert await lines(parts, "thaw", BOT) == [f"bot: thawed, pid {pid}"]
    await until(lambda: not is_frozen(pid), "the bot to be thawed", timeout_s=5)
    assert await lines(parts, "thaw", BOT) == [f"bot: not frozen, pid {pid}"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("database", {"keys/secret", "other", "bot.log"}),
        ("store", {"bot.db", "bot.db-wal", "bot.db-shm", "other", "bot.log"}),
    ],
)
async def test_what_is_lost_is_gone_and_the_rest_stays(parts, name, kept):
    """The bot is killed before, and started after."""
    bot = parts.bot

    said = await lines(parts, "lose", BOT, name)

    assert left(parts) == kept
    assert bot.returncode == -9
    assert (said[0], said[2]) == ("bot: killed", "start bot")
    assert said[1].startswith(f"bot: {name} deleted, ")


async def test_a_lost_database_of_a_bot_that_is_down_is_lost_all_the_same(parts):
    """There is nothing to kill, and nothing is started; a second time there is nothing to delete."""
    await lines(parts, "kill", BOT)

    (said,) = await lines(parts, "lose", BOT, "database")
    assert said.startswith("bot: database deleted")
    (said,) = await lines(parts, "lose", BOT, "database")
    assert said.startswith("bot: database already absent")


@pytest.mark.parametrize("where", ["../homeserver/homeserver.db", "/etc/passwd", "", "."])
async def test_nothing_outside_the_bots_folder_is_deleted(parts, where):
    """Nor the folder itself. The bot is left alone."""
    parts.environment = {"MATRIX_DB_PATH": where and str(parts.folder.bot / where)}

    with pytest.raises(HarnessError, match=r"MATRIX_DB_PATH is .* nothing was deleted"):
        await lines(parts, "lose", BOT, "database")

    assert parts.bot.is_running()
    assert "bot.db" in left(parts)


async def test_a_link_out_of_the_bots_folder_is_not_followed(parts, tmp_path):
    """What a link points to belongs to somebody else."""
    (outside := tmp_path / "mine.db").touch()
    (parts.folder.bot / "link.db").symlink_to(outside)
    parts.environment = {"MATRIX_DB_PATH": str(parts.folder.bot / "link.db")}

    with pytest.raises(HarnessError, match="nothing was deleted"):
        await lines(parts, "lose", BOT, "database")

    assert outside.exists()


async def test_what_is_down_cannot_be_killed_or_frozen(parts):
    """One line, with the way out."""
    await lines(parts, "kill", BOT)

    for action, part in (("kill", BOT), ("freeze", BOT), ("kill", "homeserver")):
        with pytest.raises(HarnessError, match=rf"the {part} does not run here; try: .*start {part}"):
            await lines(parts, action, part)


@pytest.mark.parametrize(
    "wish", [("kill",), ("freeze", "homeserver"), ("lose", "bot"), ("lose", "bot", "mind"), ("lose", "", "database")]
)
def test_a_wish_to_break_names_its_part(wish):
    """All parts at once would be a mistake."""
    with pytest.raises(Misuse):
        Wish(*wish)


async def test_with_the_stage_a_death_is_said_once_and_dev_stays(parts, capsys):
    """It is noted in `dev.json`, and the way of other commands still works."""
    pid = parts.bot.pid
    task = asyncio.ensure_future(_watch_over(parts.folder, None, parts, Console(), outlives_parts=True))
    parts.bot._process.signal(9)
    await until(lambda: parts.bot is None, "the death to be noted", timeout_s=5)
    await asyncio.sleep(0.3)  # three more rounds

    said = capsys.readouterr().out
    assert said.count("bot died") == 1
    assert "start bot" in said
    assert json.loads(parts.folder.state_file.read_text())[BOT]["pid"] is None
    assert "SIGKILL" in parts.ended[BOT]
    assert pid > 0
    assert not task.done()
    assert await ask_from_inside(parts.folder, Wish("start", BOT)) == ["start bot"]
    with pytest.raises(HarnessError, match="does not run here"):
        await ask_from_inside(parts.folder, Wish("freeze", BOT))
    assert list(parts.folder.requests.iterdir()) == []
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_the_bot_alone_gets_the_proxys_url():
    """Wherever the URL stands in its variables; a longer port is another one."""
    environment = {
        "MATRIX_HOMESERVER": "http://127.0.0.1:80",
        "HOOK": "http://127.0.0.1:80/x",
        "O": "http://127.0.0.1:8080",
    }

    assert with_url(environment, "http://127.0.0.1:80", "http://127.0.0.1:9") == {
        "MATRIX_HOMESERVER": "http://127.0.0.1:9",
        "HOOK": "http://127.0.0.1:9/x",
        "O": "http://127.0.0.1:8080",
    }


async def test_the_proxy_follows_a_homeserver_that_was_started_again(parts, monkeypatch):
    """A restored snapshot may have had another port; the proxy's own URL stays."""
    proxy = FaultProxy(ExternalHomeserver("http://127.0.0.1:1", "greenroom.test"))
    now = ExternalHomeserver("http://127.0.0.1:2", "greenroom.test")

    class Unstarted:
        async def start(self):
            return now

    monkeypatch.setattr(module, "make_homeserver", lambda *_, **__: Unstarted())
    parts.folder.homeserver.mkdir()
    parts.through = proxy

    await parts.start_homeserver(Choice(find_kind("synapse"), Backend.PROCESS, "a test"), 0)

    assert proxy.behind == "http://127.0.0.1:2"
    proxy.close()
