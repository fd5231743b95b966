"""Ignores `retry_after_ms`, and retries at once."""

from __future__ import annotations

import asyncio

import aiohttp
import nio
from good import Bot, main

CAUGHT_BY = "rate-limit-storm"
SAYS = "told to wait 400 ms, the bot tried again after"


class Hammers(Bot):
    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        body = {"msgtype": "m.notice", "body": text}
        rooms = f"{self.client.homeserver}/_matrix/client/v3/rooms"
        url = f"{rooms}/{room_id}/send/m.room.message/{self.transaction_id(event)}"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.client.access_token}"}) as session:
            while True:
                async with session.put(url, json=body) as answer:
                    if answer.status == 200:
                        return


if __name__ == "__main__":
    asyncio.run(main(Hammers))
