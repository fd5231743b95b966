"""`dev --stage` on a real homeserver: its page is for one browser, and it outlives what is broken on it."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

pytest.importorskip("nicegui", reason="the extra `stage` is not installed")

from greenroom.processes.procfs import started_at
from tests.e2e.dev_project import Project, listens

ADDRESS = re.compile(r"^stage: +(http://127\.0\.0\.1:\d+)(/\?key=\S+)$", re.M)
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


@dataclass
class Visit:
    """A browser's session with a stage."""

    client: aiohttp.ClientSession
    url: str
    base: str  # the secret path
    cookie: dict[str, str]

    async def page(self) -> str:
        status, text = await self.get("/", **self.cookie)
        assert status == 200
        return text

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.client.get(f"{self.url}{self.base}{path}", headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def socket_opens(self, **headers: str) -> bool:
        try:
            async with self.client.ws_connect(f"{self.url}{self.base}{SOCKET}", headers=headers) as opened:
                await opened.receive()
                return True
        except aiohttp.WSServerHandshakeError:
            return False


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps no cookies by itself."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield client


async def enter(client: aiohttp.ClientSession, address: str) -> Visit | None:
    """Open an address with a key; return None if it is refused."""
    async with client.get(address, allow_redirects=False) as answer:
        await answer.read()
        if answer.status == 403:
            return None
        url, base = address.partition("/?")[0], answer.headers["Location"].rstrip("/")
        return Visit(client, url, base, {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]})


def address_of(project: Project) -> str:
    found = ADDRESS.search(project.output())
    assert found, project.output()
    return found[1] + found[2]


def bot_state(page: str) -> str:
    """Return the word about the bot on a page that was just made."""
    return re.search(
        r"bot-state.{0,400}?(running|frozen|stopped|dead)|(running|frozen|stopped|dead).{0,200}bot-state", page, re.S
    )[0]


async def test_the_page_is_for_the_browser_that_has_used_the_key(project, client):
    """Once; `status` prints a fresh one. Another name, another port and another browser get 403, sockets too."""
    child = project.dev("--stage")
    first = address_of(project)

    visit, again = await enter(client, first), await enter(client, first)
    status = project.run("status")
    fresh = re.search(r"^stage +(\S+)$", status.stdout, re.M)[1]
    second = await enter(client, fresh)

    assert visit is not None
    assert (again, fresh == first) == (None, False)
    assert second is not None
    assert "Greenroom: the stage" in await visit.page()
    assert await visit.socket_opens(**visit.cookie, Origin=visit.url)
    strangers = ({}, {"Host": f"rebound.example:{visit.url.rpartition(':')[2]}"}, {"Origin": "http://127.0.0.1:1"})
    for stranger in strangers:
        headers = {**visit.cookie, **stranger} if stranger else {}
        for path in ("/", "/_nicegui/x.js", SOCKET):
            assert (await visit.get(path, **headers))[0] == 403, (path, stranger)
        assert not await visit.socket_opens(**headers)
    assert stat.S_IMODE((project.folder / ".greenroom/stage").stat().st_mode) == 0o600
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 0, project.output()


async def test_a_killed_bot_does_not_end_dev_and_page_and_commands_agree(project, client):
    """The console says it once; another terminal stops and starts the bot, and the page shows it."""
    child = project.dev("--stage")
    visit = await enter(client, address_of(project))
    assert visit is not None
    assert "running" in bot_state(await visit.page())

    os.kill(project.state()["bot"]["pid"], signal.SIGKILL)
    project.until(lambda: "bot died" in project.output())
    dead = bot_state(await visit.page())
    started = project.run("start", "bot")
    running = bot_state(await visit.page())
    stopped = project.run("stop", "bot")
    down = bot_state(await visit.page())

    assert child.poll() is None
    assert project.output().count("bot died") == 1
    assert (started.returncode, stopped.returncode) == (0, 0), started.stderr + stopped.stderr
    assert "dead" in dead
    assert "running" in running
    assert "stopped" in down
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 0


async def test_the_bot_meets_the_proxy_and_other_commands_do_not(project):
    """`dev.json` and `dev.env` have the homeserver's own URL, also after both were started again."""
    child = project.dev("--stage")
    url = project.state()["homeserver"]["url"]

    def bots_url() -> str:
        environment = Path(f"/proc/{project.state()['bot']['pid']}/environ").read_text()
        return dict(line.split("=", 1) for line in environment.split("\0") if line)["MATRIX_HOMESERVER"]

    proxy = bots_url()
    restarted = project.run("restart")

    assert restarted.returncode == 0, restarted.stderr
    assert proxy != url
    assert (bots_url(), project.state()["homeserver"]["url"]) == (proxy, url)
    assert f"MATRIX_HOMESERVER={url}\n" in (project.folder / ".greenroom/dev.env").read_text()
    assert listens(proxy)
    assert listens(url)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 0


async def test_ctrl_c_ends_everything_with_a_page_open_and_leaves_nothing(project, client):
    """Also a frozen bot, the server of the page and the file with its key."""
    child = project.dev("--stage")
    visit = await enter(client, address_of(project))
    pids, state = project.pids(), project.state()
    async with client.ws_connect(f"{visit.url}{visit.base}{SOCKET}", headers=visit.cookie):
        os.kill(state["bot"]["pid"], signal.SIGSTOP)

        child.send_signal(signal.SIGINT)

        assert child.wait(20) == 0, project.output()
    assert [pid for pid in pids if started_at(pid)] == []
    assert not any(listens(url) for url in (visit.url, state["homeserver"]["url"]))
    assert not (project.folder / ".greenroom/stage").exists()
    assert not (project.folder / ".nicegui").exists()
    assert "Traceback" not in project.output()


def test_the_stage_needs_dev_in_the_foreground(project):
    """One line, before anything starts."""
    refused = project.detached("--stage")

    assert refused.returncode == 2
    assert refused.stderr.strip().endswith(
        "--stage needs dev in the foreground, which serves the page. Try: leave --detach out"
    )
    assert not (project.folder / ".greenroom").exists()
