"""An afternoon on the stage: two people talk with the bot, break it, and copy what they did as a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.async_api import expect

from tests.browser.stage import PATIENCE_MS, staged, start  # noqa: F401 - a fixture

ECHO_BOT = Path(__file__).parents[1] / "examples" / "nio" / "echo_bot.py"
PLAYED = "test_played.py"
ROOM = "Travel plans"


def run_copied(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a copied test unchanged, as a newcomer would."""
    folder.mkdir(exist_ok=True)
    (folder / PLAYED).write_text(text)
    unwanted = ("GREENROOM_", "PYTEST_", "MATRIX_", "PROJECT_OF_TEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    runs = {"GREENROOM_RUNS_DIR": os.environ["GREENROOM_RUNS_DIR"], "PROJECT_OF_TEST": os.environ["PROJECT_OF_TEST"]}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--greenroom-backend", "process"]
    command += ["--basetemp", str(folder / "tmp"), PLAYED]
    env = {**kept, **runs}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=200, check=False)


async def test_talk_break_recover_and_copy_it_all_as_a_test(page, staged, tmp_path, screenshot):  # noqa: F811
    """The bot answers both people, loses its life and its database, recovers, and meets a broken network.

    1. alice and carol log in; alice asks in a room, carol starts a chat
    2. the bot is killed, its database is lost: drift, then in step after its start
    3. a fault hits its answer, which arrives all the same
    4. the copied test passes
    """
    stage = await staged.enter(page)
    await stage.be("alice")
    await stage.be("carol")
    await stage.open("alice", ROOM)
    await stage.say("alice", "Good morning")
    await stage.sees("alice", "bot", "Good morning")

    await stage.at("bot-kill").click()
    await stage.bot_is("dead")
    await screenshot(page, "stage-killed")
    await stage.at("bot-start").click()
    await stage.bot_is("running")
    await stage.at("bot-stop").click()
    await stage.bot_is("stopped")
    await stage.at("bot-lose-database").click()
    await stage.drift_is("drift")
    await expect(stage.at("drift")).to_contain_text(ROOM)
    await screenshot(page, "stage-drift")
    await stage.at("bot-start").click()
    await stage.bot_is("running")
    await stage.drift_is("in step")
    await stage.at("bot-lose-database").click()
    await stage.bot_is("running")
    await stage.drift_is("in step")

    await stage.at("fault-rate_limited").click()
    await stage.say("alice", "Which train goes to Vienna?")
    await expect(stage.at("hits-rate_limited")).to_contain_text("1", timeout=PATIENCE_MS)
    await stage.at("tab-wire").click()
    await screenshot(page, "stage-fault")
    await stage.at("fault-rate_limited").click()
    await stage.sees("alice", "bot", "Which train goes to Vienna?")
    await screenshot(page, "stage-after")

    text = await stage.as_test()
    passed = run_copied(tmp_path / "passes", text)
    assert passed.returncode == 0, f"{text}\n{passed.stdout}"


async def test_a_copied_test_passes_beside_the_bot_and_fails_when_the_bot_is_broken(page, project, tmp_path):
    """Somebody's own bot: played with, copied into its folder, run unchanged; then the bot answers something else."""
    shutil.copy(ECHO_BOT, project.folder)
    for own in start(project, "python echo_bot.py"):
        stage = await own.enter(page)
        await stage.be("carol")
        await stage.new_chat("carol", "bot")
        await stage.say("carol", "Good morning")
        await stage.sees("carol", "bot", "Good morning")
        await stage.at("bot-kill").click()
        await stage.bot_is("dead")
        await stage.at("bot-start").click()
        await stage.bot_is("running")
        await stage.say("carol", "Are you there?")
        await stage.sees("carol", "bot", "Are you there?")
        await stage.sees("carol", "bot", "Good morning", times=2)  # it knows no position: its first sync brings all
        text = await stage.as_test()

    passed = run_copied(project.folder, text)
    bot = project.folder / "echo_bot.py"
    bot.write_text(bot.read_text().replace('"body": event.body', '"body": "what?"'))
    failed = run_copied(project.folder, text)

    assert passed.returncode == 0, f"{text}\n{passed.stdout}"
    assert failed.returncode == 1, f"{text}\n{failed.stdout}"
    assert "what?" in failed.stdout
    assert "report.html" in failed.stdout
