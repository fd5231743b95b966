"""The bot in this process, on a homeserver that is a fake."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import nio
import pytest
import structlog

import greenroom_bot.__main__ as command_line
from greenroom_bot.config import Config
from greenroom_bot.matrix.errors import BotError
from greenroom_bot.matrix.ids import RoomId
from greenroom_bot.matrix.sync import LiveClient
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.store import SQLiteStore
from tests.bot.factory import ME
from tests.fake_homeserver import PASSWORD, FakeHomeserver, FakeRoom


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """What the bot logged, as dictionaries."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture(autouse=True)
def _brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts are a thousandth of the real ones; how long those are is tested in test_retry.py."""
    monkeypatch.setattr("greenroom_bot.matrix.retry.FIRST_S", 0.0005)
    monkeypatch.setattr("greenroom_bot.matrix.retry.LONGEST_S", 0.03)
    monkeypatch.setattr("greenroom_bot.rooms.chats.SETTLE_S", 0.002)


@pytest.fixture
async def server() -> AsyncIterator[FakeHomeserver]:
    async with FakeHomeserver().running() as running:
        yield running


class BotRun:
    """One start of the bot until it is stopped; `error` is what ended it, if anything did."""

    def __init__(self, server: FakeHomeserver, config: Config, log_lines: list[dict[str, Any]]) -> None:
        self.server, self.config, self.log_lines = server, config, log_lines
        self.error: BaseException | None = None
        self._logged_before = len(log_lines)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await command_line._run(self.config)
        except (BotError, OSError) as error:
            self.error = error
        finally:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of this run with that event name."""
        return [line for line in self.log_lines[self._logged_before :] if line["event"] == event]

    async def live(self) -> BotRun:
        await self.server.until(lambda: self.logged("matrix_live") or self.task.done(), "the bot to be live")
        if self.error:
            raise self.error
        return self

    async def ended(self) -> BaseException | None:
        """Wait until the run ends by itself and return what ended it."""
        await self.server.until(self.task.done, "the bot to end")
        return self.error

    async def stop(self) -> None:
        """Stop as by a signal: what is in hand is finished."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def row(self, room_id: str = "!chat") -> RoomRow | None:
        """Return a room's row of the stopped bot."""
        with contextlib.closing(self.store()) as store:
            return store.room(RoomId(room_id))

    def store(self) -> SQLiteStore:
        """Open the records of the stopped bot; the caller closes them."""
        return SQLiteStore(self.config.db_path)


@pytest.fixture
async def start(
    server: FakeHomeserver, tmp_path: Path, log_lines: list[dict[str, Any]]
) -> AsyncIterator[Callable[..., BotRun]]:
    """Start a bot (call it again for a restart on the same files). Whatever still runs is stopped at the end."""
    runs: list[BotRun] = []

    def begin(**changed: Any) -> BotRun:
        given = {"homeserver": server.url, "user_id": ME, "password": PASSWORD, **changed}
        config = Config(**{"db_path": tmp_path / "bot.db", "store_path": tmp_path / "keys", **given})
        runs.append(BotRun(server, config, log_lines))
        return runs[-1]

    yield begin
    for run in runs:
        await run.stop()


@pytest.fixture
async def client(server: FakeHomeserver, tmp_path: Path) -> AsyncIterator[LiveClient]:
    """A client of the fake server that is logged in; its waits between syncs take no time and are kept in `waits`."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    server.devices["token"] = "DEVICE"
    opened = LiveClient(server.url, ME, store_path=str(tmp_path), sleep=sleep)
    opened.restore_login(ME, "DEVICE", "token")
    opened.waits = waits
    yield opened
    await opened.close()


@pytest.fixture
def heard(client):
    """The bodies of all messages that reach the handlers, in order."""
    bodies = []

    async def hear(_, message):
        bodies.append(message.body)

    client.add_event_callback(hear, nio.RoomMessageText)
    return bodies


@pytest.fixture
def batches(client):
    """The responses that were handed over whole."""
    seen = []

    async def note(response):
        seen.append(response)

    client.add_response_callback(note, nio.SyncResponse)
    return seen


@pytest.fixture
def chat(server: FakeHomeserver) -> FakeRoom:
    """Alice's Space with one chat, made by an earlier run of the bot."""
    server.space("!chat")
    return server.chat()
