"""Take the pictures of the pages: `python -m docs.pictures [FOLDER]`. It takes about a minute and needs Chromium.

Each is a screenshot of a real run: a failed test, a few scenarios with two bots, and the stage. A test takes them too,
so that this keeps working. They are not compared: times and ids differ in every run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.chromium import find_chromium, options

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
EXAMPLE, GALLERY = ROOT / "tests" / "examples" / "nio", ROOT / "tests" / "gallery"
SIZE = {"width": 1280, "height": 800}
LIMIT_S = 180.0
SHOWN = "answers,message-while-down,killed-before-answer,rate-limit-storm,lost-response"
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


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command: nothing of this run decides what it does."""
    unwanted = ("MATRIX_", "GREENROOM_", "PYTEST_", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "GREENROOM_RUNS_DIR": str(folder / ".runs"), "PYTHONWARNINGS": "ignore"}


def run(folder: Path, *command: str, code: int) -> None:
    """Run a module of this Python in a folder. Raises SystemExit if it ends with another exit code."""
    argv, env = [sys.executable, "-m", *command], environment(folder)
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


@contextmanager
def of_a_report(page: Page, folder: Path) -> Iterator[None]:
    """Open the report of a failed test, with a request that a fault has hit."""
    shutil.copy(EXAMPLE / "echo_bot.py", folder)
    (folder / "test_answers.py").write_text(FAILS)
    where = ("--greenroom-failures", "failures", "--greenroom-backend", "process")
    run(folder, "pytest", "-q", "-p", "no:cacheprovider", *where, code=1)
    (report,) = folder.glob("failures/*/report.html")
    page.goto(report.as_uri())
    page.locator(".row.marked-fault").first.click()
    yield


@contextmanager
def of_scenarios(page: Page, folder: Path) -> Iterator[None]:
    """Open the table of a bot that keeps its promises and of one that forgets its rooms."""
    for name in ("good.py", "good.yaml", "matrix.py", FORGETS):
        shutil.copy(GALLERY / name, folder)
    promises = (folder / "good.yaml").read_text().replace("name: good", "name: forgets-rooms\npatience_s: 5")
    (folder / "forgets.yaml").write_text(promises.replace("good.py", FORGETS))
    chosen = ("--only", SHOWN, "--report", "report", "--backend", "process")
    run(folder, "greenroom", "scenarios", "--promises", "good.yaml", *chosen, code=0)
    run(folder, "greenroom", "scenarios", "--promises", "forgets.yaml", *chosen, code=1)
    page.goto((folder / "report" / "index.html").as_uri())
    yield


@contextmanager
def of_the_stage(page: Page, folder: Path) -> Iterator[None]:
    """Be alice and carol, talk with the reference bot, and refuse its answer."""
    (folder / "pyproject.toml").touch()
    output = folder / "output.txt"
    argv = [sys.executable, "-m", "greenroom", "dev", "--stage", "--backend", "process"]
    with output.open("w") as file:
        dev = subprocess.Popen(argv, cwd=folder, env=environment(folder), stdout=file, stderr=subprocess.STDOUT)
    try:
        page.goto(_address(dev, output))
        for name in ("alice", "carol"):
            page.get_by_test_id(f"log-in-{name}").click()
            page.get_by_test_id(f"person-{name}").wait_for()
        page.get_by_test_id("room-Travel plans").click()
        _say(page, "alice", "Good morning")
        page.locator("[data-sender=bot]").get_by_text("Good morning").wait_for()
        page.get_by_test_id("new-chat-carol").click()
        page.get_by_test_id("dialog-ok").click()
        page.get_by_test_id("accept-Chats of carol").click()
        page.get_by_test_id("tab-wire").click()
        page.get_by_test_id("fault-html").click()
        _say(page, "alice", "Which train goes to Vienna?")
        page.locator(".own").get_by_text("Which train goes to Vienna?").wait_for()
        page.get_by_test_id("hits-html").get_by_text(re.compile("^[1-9]")).wait_for()
        page.mouse.move(1, 1)
        page.locator(".q-tooltip").wait_for(state="detached")
        page.locator(".q-notification").first.wait_for(state="detached")
        yield
    finally:
        dev.send_signal(signal.SIGINT)
        dev.wait(LIMIT_S)


def _say(page: Page, name: str, text: str) -> None:
    field = page.get_by_test_id(f"person-{name}").get_by_role("textbox")
    field.fill(text)
    field.press("Enter")


def _address(dev: subprocess.Popen[bytes], output: Path) -> str:
    """Wait for the address that `dev` prints. Raises SystemExit if it ends before."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := re.search(r"^stage: +(\S+)", output.read_text(), re.MULTILINE)):
        if dev.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"dev --stage did not start:\n{output.read_text()}")
        time.sleep(0.1)
    return found[1]


TAKEN: dict[str, Callable[[Page, Path], AbstractContextManager[None]]] = {
    "report": of_a_report,
    "scenarios": of_scenarios,
    "stage": of_the_stage,
}


def take(to: Path) -> None:
    """Take all pictures, each of a run in a folder of its own."""
    to.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium(), args=list(options()))
        for name, act in TAKEN.items():
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            with tempfile.TemporaryDirectory(prefix="greenroom-picture-") as folder, act(page, Path(folder)):
                page.screenshot(path=to / f"{name}.png")
            page.close()
            print(to / f"{name}.png", flush=True)
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
