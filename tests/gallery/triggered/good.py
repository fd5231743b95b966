"""A small webhook bot that keeps its promises. Each bad bot of this folder is this bot with one fault.

`POST /hook` with a room and a text makes it speak. It never syncs. It stores each alert before it accepts it, and sends
the oldest one until the homeserver has it, always with the same transaction id.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import aiohttp
from aiohttp import web

QUEUE = Path(os.environ["MATRIX_DB_PATH"]).with_suffix(".json")
TOKEN_IS_DEAD = 4


class Bot:
    """The good bot. A bad bot overrides a method."""

    def __init__(self) -> None:
        self.queue: list[dict[str, str]] = json.loads(QUEUE.read_text()) if QUEUE.exists() else []
        self.news = asyncio.Event()
        self.news.set()

    def save(self) -> None:
        draft = QUEUE.with_suffix(".new")
        draft.write_text(json.dumps(self.queue))
        draft.replace(QUEUE)

    async def run(self) -> None:
        app = web.Application()
        app.router.add_post("/hook", self.hook)
        app.router.add_get("/", self.health)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(os.environ["BOT_PORT"])).start()
        try:
            async with aiohttp.ClientSession() as self.http:
                while True:
                    await self.news.wait()
                    self.news.clear()
                    while self.queue:
                        await self.deliver(self.queue[0])
                        del self.queue[0]
                        self.save()
        finally:
            await runner.cleanup()

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def hook(self, request: web.Request) -> web.Response:
        """Answer 202 as soon as the alert cannot be lost any more."""
        self.queue.append({**await request.json(), "id": uuid.uuid4().hex})
        self.save()
        self.news.set()
        return web.Response(status=202)

    async def deliver(self, alert: dict[str, str]) -> None:
        """Send an alert, and try again until the homeserver has it, or refuses it for good."""
        attempt = 0
        while (wait_s := await self.send(alert)) is not None:
            await asyncio.sleep(wait_s or min(0.2 * 2**attempt, 2))
            attempt += 1

    def transaction_id(self, alert: dict[str, str]) -> str:
        return alert["id"]

    async def send(self, alert: dict[str, str]) -> float | None:
        """Send an alert once. Return None when it is done with, else the seconds to wait, 0 if nobody said so."""
        where = f"rooms/{quote(alert['room'])}/send/m.room.message/{self.transaction_id(alert)}"
        url = f"{os.environ['MATRIX_HOMESERVER']}/_matrix/client/v3/{where}"
        body = {"msgtype": "m.notice", "body": alert["text"]}
        try:
            async with self.http.put(
                url, json=body, headers={"Authorization": f"Bearer {os.environ['BOT_TOKEN']}"}
            ) as answer:
                if answer.status == 401:
                    sys.exit(TOKEN_IS_DEAD)
                if answer.status == 429:
                    return (await answer.json())["retry_after_ms"] / 1000
                return None if answer.status in (200, 403) else 0
        except aiohttp.ClientError:
            return 0


async def main(bot_class: type[Bot] = Bot) -> None:
    running = asyncio.ensure_future(bot_class().run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(main())
