"""Take the pictures of the pages: `python -m docs.pictures [FOLDER]`. It takes about a minute and needs Chromium.

Each is a screenshot of a real run: a failed test, a few scenarios with two bots, and the stage. A test takes them too,
so that this keeps working. They are not compared: times and ids differ in every run.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.chromium import find_chromium, options

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
EXAMPLE, GALLERY = ROOT / "tests" / "examples" / "nio", ROOT / "tests" / "gallery"
SIZE = {"width": 1280, "height": 800}
LIMIT_S = 180.0
SHOWN = "answers,message-while-down,killed-before-answer,rate-limit-storm,gateway-errors,lost-response"
FORGETS = "forgets_rooms.py"

FAILS = """
import pytest
from greenroom import must

@pytest.mark.asyncio
async def test_it_answers_again(person, bot, faults):
    alice, echo = await person("alice"), await bot("python echo_bot.py", through=faults)
    room = await must.chat(alice, echo)
    await must.answer(alice, echo, room, "Good morning", "Good morning")
    await echo.kill()
    with faults.rate_limited(path="/send/", times=1):
        await echo.start_again()
        await must.answer(alice, echo, room, "Which train goes to Vienna?", "The night train", timeout_s=2)
"""


def run(folder: Path, *command: str) -> str:
    """Run a command of this Python in a folder; return what it prints. Its exit code is not 0: something failed."""
    unwanted = ("MATRIX_", "GREENROOM_", "PYTEST_", "FORCE_COLOR")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment |= {"GREENROOM_RUNS_DIR": str(folder / ".runs"), "PYTHONWARNINGS": "ignore"}
    argv = [sys.executable, "-m", *command]
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode != 1:
        raise SystemExit(f"{' '.join(command)} should have found a failure:\n{done.stdout}\n{done.stderr}")
    return done.stdout


async def of_a_report(page: Page, folder: Path) -> None:
    """Open the report of a failed test at its failure, with one request shown."""
    shutil.copy(EXAMPLE / "echo_bot.py", folder)
    (folder / "test_answers.py").write_text(FAILS)
    bundles = ("--greenroom-failures", "failures", "--greenroom-backend", "process")
    await asyncio.to_thread(run, folder, "pytest", "-q", "-p", "no:cacheprovider", *bundles)
    (report,) = folder.glob("failures/*/report.html")
    await page.goto(report.as_uri())
    await page.locator(".row.marked-fault").first.click()


async def of_scenarios(page: Page, folder: Path) -> None:
    """Open the table of a bot that keeps its promises and of one that forgets its rooms."""
    for name in ("good.py", "good.yaml", "matrix.py", FORGETS):
        shutil.copy(GALLERY / name, folder)
    promises = (folder / "good.yaml").read_text()
    (folder / "forgets.yaml").write_text(
        promises.replace("name: good", "name: forgets-rooms").replace("good.py", FORGETS)
    )
    for file in ("good.yaml", "forgets.yaml"):
        command = (
            "greenroom",
            "scenarios",
            "--promises",
            file,
            "--only",
            SHOWN,
            "--report",
            "report",
            "--backend",
            "process",
        )
        if file == "good.yaml":
            await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", *command], cwd=folder, check=True, capture_output=True
            )
        else:
            await asyncio.to_thread(run, folder, *command)
    await page.goto((folder / "report" / "index.html").as_uri())


TAKEN: dict[str, Callable[[Page, Path], Awaitable[None]]] = {"report": of_a_report, "scenarios": of_scenarios}


async def take(browser: Browser, name: str, to: Path) -> Path:
    """Take one picture, of a run in a folder of its own."""
    page = await browser.new_page(viewport=SIZE, color_scheme="light")
    with tempfile.TemporaryDirectory(prefix="greenroom-picture-") as folder:
        await TAKEN[name](page, Path(folder))
        picture = to / f"{name}.png"
        await page.screenshot(path=picture)
    await page.close()
    return picture


async def main(to: Path) -> None:
    """Take all pictures."""
    to.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=find_chromium(), args=list(options()))
        for name in TAKEN:
            print(await take(browser, name, to), flush=True)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES))
