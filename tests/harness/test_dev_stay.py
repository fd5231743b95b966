"""What `dev` in the foreground does with requests and changed files."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.stay import _watch_over
from greenroom.waiting import until


class Parts:
    """Parts that only note what is asked of them."""

    server = bot = None

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def act(self, action, _parts):
        self.asked.append(action)
        yield action


class Sources:
    """Sources that change when a test says so."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.edited = asyncio.Event()

    def skip(self) -> None:
        """Forget the changes until now."""
        self.edited.clear()

    async def changed(self):
        await self.edited.wait()
        self.edited.clear()
        return self.folder / "bot.py"


async def test_a_change_while_the_bot_is_stopped_does_not_restart_it_later(tmp_path):
    """The next start has the change already."""
    folder, parts, sources = DevFolder(tmp_path), Parts(), Sources(tmp_path)
    folder.requests.mkdir(parents=True)
    task = asyncio.ensure_future(_watch_over(folder, sources, parts, Console()))

    async def ask(number: int, action: str) -> None:
        (folder.requests / f"{number}.json").write_text(json.dumps({"action": action, "part": "bot"}))
        answer = folder.requests / f"{number}.answer"
        await until(answer.exists, f"the answer to {action}", timeout_s=5, every_s=0.01)

    await ask(1, "stop")
    sources.edited.set()
    await ask(2, "start")
    await ask(3, "stop")  # after another look at the sources

    assert parts.asked == ["stop", "start", "stop"]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
