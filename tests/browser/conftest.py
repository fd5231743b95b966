"""Everything in this folder runs in a real browser without a window. Its screenshots are kept, to be looked at."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.chromium import find_chromium, options
from tests.e2e.dev_project import project  # noqa: F401 - a fixture for every file here

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as `browser`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for the whole session."""
    program = find_chromium()
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=list(options()))
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page with cookies of its own, 1400 by 1000 pixels. An error of the page's own script fails the test."""
    context = await browser.new_context(viewport={"width": 1400, "height": 1000})
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    await context.close()
    assert errors == []


@pytest.fixture
def screenshot(request: pytest.FixtureRequest, tmp_path_factory) -> Callable[..., Awaitable[Path]]:
    """Keep a picture of a page: `await screenshot(page, "name")`, in GREENROOM_SCREENSHOTS or the tests' folder."""
    chosen = os.environ.get("GREENROOM_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.getbasetemp() / "screenshots"

    async def take(page: Page, name: str = "") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{re.sub(r'[^a-zA-Z0-9]+', '-', name or request.node.name)}.png"
        await page.screenshot(path=path)
        return path

    return take
