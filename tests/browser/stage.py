"""A dev environment with its stage, as a person starts it, and what a person does on the page."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.dev_project import Project

ADDRESS = re.compile(r"^stage: +(http://127\.0\.0\.1:(\d+)/\?key=\S+)$", re.M)
PATIENCE_MS = 30_000


@dataclass
class Staged:
    """A project whose `dev --stage` runs, with the reference bot unless it was started with another."""

    project: Project
    address: str
    port: int

    @property
    def folder(self) -> Path:
        return self.project.folder

    async def enter(self, page: Page) -> Stage:
        """Open the page with its one-time key."""
        await page.goto(self.address)
        await expect(page.get_by_test_id("bot-state")).to_have_text("running", timeout=PATIENCE_MS)
        return Stage(page)


@dataclass
class Stage:
    """The page, and what a person does on it."""

    page: Page

    def at(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    async def be(self, name: str) -> None:
        await self.at(f"log-in-{name}").click()
        await expect(self.at(f"person-{name}")).to_be_visible(timeout=PATIENCE_MS)

    async def open(self, name: str, room: str) -> None:
        await self.at(f"person-{name}").get_by_test_id(f"room-{room}").click(timeout=PATIENCE_MS)

    async def new_chat(self, name: str, other: str) -> None:
        """Start a direct chat from the page, and open it."""
        await self.at(f"new-chat-{name}").click()
        await self.page.get_by_role("dialog").get_by_role("textbox").fill(other)
        await self.at("dialog-ok").click()
        await self.open(name, f"chat with {other}")

    async def say(self, name: str, text: str) -> None:
        field = self.at(f"person-{name}").get_by_role("textbox")
        await field.fill(text)
        await field.press("Enter")

    def messages(self, name: str) -> Locator:
        return self.at(f"timeline-{name}").get_by_test_id("message")

    async def sees(self, name: str, sender: str, text: str, times: int = 1) -> None:
        """Wait until a person sees a message, so many times."""
        said = self.messages(name).and_(self.page.locator(f"[data-sender='{sender}']")).filter(has_text=text)
        await expect(said).to_have_count(times, timeout=PATIENCE_MS)

    async def bot_is(self, word: str) -> None:
        await expect(self.at("bot-state")).to_contain_text(word, timeout=PATIENCE_MS)

    async def drift_is(self, verdict: str) -> None:
        await self.at("tab-drift").click()
        await self.at("compare").click()
        await expect(self.at("drift-verdict")).to_have_text(verdict, timeout=PATIENCE_MS)

    async def as_test(self) -> str:
        """Return the text behind `copy as test`."""
        await self.at("copy-as-test").click()
        text = await self.at("test-text").text_content()
        await self.page.get_by_role("button", name="Close").click()
        return text or ""


@pytest.fixture
def staged(project: Project) -> Iterator[Staged]:
    """A running `dev --stage` of the reference bot. At the end Ctrl-C stops all of it."""
    yield from start(project)


def start(project: Project, bot: str = "") -> Iterator[Staged]:
    """Run `dev --stage` with a bot, for the length of a fixture."""
    child = project.dev("--stage", bot=bot)
    found = ADDRESS.search(project.output())
    assert found, project.output()
    yield Staged(project, found[1], int(found[2]))
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0, project.output()
