"""The right side and the lower one of the stage, in a real browser: see the bot, and break it."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

pytest.importorskip("playwright", reason="the driver of the browser is not installed")
pytest.importorskip("nicegui", reason="the extra `stage` is not installed")

from playwright.async_api import Locator, Page, expect

from tests.browser.stage import ADDRESS, staged  # noqa: F401 - a fixture
from tests.e2e.dev_project import Project, listens

ANSWER_MS = 20_000  # a homeserver that starts again


@pytest.fixture
def stage(staged) -> Project:  # noqa: F811
    """The project of a running stage with the reference bot."""
    return staged.project


def part(page: Page, name: str) -> Locator:
    return page.get_by_test_id(name)


async def opened(page: Page, project: Project) -> list[str]:
    """Open the stage; return the list that every request of the page is added to."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    await page.goto(ADDRESS.search(project.output())[1])
    await expect(part(page, "bot-state")).to_have_text("running")
    return asked


async def press(page: Page, name: str, until: str, says: str | re.Pattern[str]) -> None:
    """Press a button, and wait until a part of the page says what follows from it."""
    await part(page, name).click()
    await expect(part(page, until)).to_have_text(says, timeout=ANSWER_MS)
    await expect(part(page, "bot-restart")).to_be_enabled(timeout=ANSWER_MS)


async def test_the_bot_is_killed_frozen_and_started_again(stage, page, screenshot):
    """The page says what it is after each, `dev.json` has the same pid, and no request leaves this machine."""
    asked = await opened(page, stage)
    first = stage.state()["bot"]["pid"]

    await press(page, "bot-kill", "bot-state", "dead: killed with SIGKILL")
    await screenshot(page, "stage-bot-killed")
    assert stage.state()["bot"]["pid"] is None
    await press(page, "bot-start", "bot-state", "running")
    second = stage.state()["bot"]["pid"]
    await press(page, "bot-freeze", "bot-state", "frozen")
    await press(page, "bot-thaw", "bot-state", "running")

    assert second not in (None, first)
    await expect(part(page, "bot-facts")).to_contain_text(f"restarted 1 time · pid {second}")
    own = page.url.partition("/stage-")[0]
    assert [url for url in asked if not url.startswith((own, own.replace("http", "ws"), "data:", "blob:"))] == []


async def test_what_another_terminal_does_is_seen_on_the_page(stage, page):
    """`stop`, `start`, and a kill from outside."""
    await opened(page, stage)

    assert stage.run("stop", "bot").returncode == 0
    await expect(part(page, "bot-state")).to_have_text("stopped")
    await expect(part(page, "bot-start")).to_be_enabled()
    assert stage.run("start", "bot").returncode == 0
    await expect(part(page, "bot-state")).to_have_text("running")
    os.kill(stage.state()["bot"]["pid"], signal.SIGKILL)
    await expect(part(page, "bot-state")).to_contain_text("dead: ")


async def test_a_lost_database_shows_as_drift_until_the_bot_has_recovered(stage, page, screenshot):
    """The reason of each row is there; the bot rebuilds its records from the homeserver at its start."""
    await opened(page, stage)
    await press(page, "bot-stop", "bot-state", "stopped")
    (stage.folder / ".greenroom/bot/lambda_matrix.db").unlink()

    await part(page, "tab-drift").click()
    await expect(part(page, "drift-verdict")).to_have_text("drift", timeout=ANSWER_MS)
    await expect(part(page, "drift")).to_contain_text("recovered")
    await screenshot(page, "stage-drift")
    await press(page, "bot-start", "bot-state", "running")

    await expect(part(page, "drift-verdict")).to_have_text("in step", timeout=ANSWER_MS)


async def test_a_fault_hits_the_wire_and_ends(stage, page, screenshot):
    """It counts its hits, the wire marks them in words, a click shows the whole, and the test repeats it."""
    await opened(page, stage)
    await part(page, "tab-wire").click()

    await part(page, "fault-rate_limited").click()
    await expect(part(page, "faults-on")).to_have_text("network broken: 429")
    await part(page, "bot-restart").click()  # it is not over before the fault is
    await expect(part(page, "hits-rate_limited")).to_have_text(re.compile(r"^[1-9]\d* hits?$"), timeout=ANSWER_MS)
    refused = part(page, "wire").locator(".wire", has_text="refused").first
    await expect(refused).to_contain_text("429")
    await screenshot(page, "stage-fault")
    await refused.focus()
    await page.keyboard.press("Enter")
    await expect(part(page, "whole-request")).to_contain_text("M_LIMIT_EXCEEDED")
    await page.keyboard.press("Escape")
    await part(page, "fault-rate_limited").click()
    await expect(part(page, "faults-on")).to_have_text("network whole")
    await expect(part(page, "bot-restart")).to_be_enabled(timeout=ANSWER_MS)

    await part(page, "copy-as-test").click()
    text = await part(page, "test-text").inner_text()
    assert text.index("faults.rate_limited()") < text.index("rate_limited.end()") < text.index("my_bot.restart()")


async def test_the_homeserver_dies_and_returns_and_a_snapshot_is_restored(stage, page):
    """Its URL stays, the bot works through the same proxy afterwards, and the page goes on; logins are over."""
    await opened(page, stage)
    await press(page, "log-in-alice", "person-alice", re.compile("alice"))
    url = stage.state()["homeserver"]["url"]

    await press(page, "homeserver-kill", "homeserver-state", re.compile("homeserver dead: killed with SIGKILL"))
    assert not listens(url)
    await press(page, "homeserver-start", "homeserver-state", re.compile("homeserver running"))
    await part(page, "keep").click()
    await expect(part(page, "restore-name")).to_have_value("before", timeout=2 * ANSWER_MS)
    await part(page, "restore").click()
    await expect(page.get_by_text(re.compile("snapshot: before restored"))).to_be_visible(timeout=2 * ANSWER_MS)

    await expect(part(page, "problem-alice")).to_contain_text("restored; log in again")
    await expect(part(page, "bot-state")).to_have_text("running")
    assert json.loads(stage.run("status", "--json").stdout)["verdict"] == "in step"
    assert stage.state()["homeserver"]["url"] == url


async def test_the_log_is_filtered_by_level_and_text(stage, page):
    """Each line has its level as a letter too."""
    await opened(page, stage)
    lines = part(page, "log").locator(".line")
    await expect(lines.filter(has_text="matrix_live")).to_have_text(re.compile("^I "))

    await part(page, "log-search").fill("matrix_live")

    await expect(lines).to_have_count(1)
