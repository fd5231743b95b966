"""Without a response it sends again with a new transaction id, so the homeserver cannot recognise the repeat."""

from __future__ import annotations

import asyncio
import uuid

import aiohttp
from good import Bot, main

CAUGHT_BY = "lost-response"
SAYS = "answered twice instead of once"


class Twice(Bot):
    async def answer(self, room_id: str, event: object, text: str) -> None:
        body = {"msgtype": "m.notice", "body": text}
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.client.access_token}"}) as session:
            for _ in range(5):
                url = (
                    f"{self.client.homeserver}/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{uuid.uuid4().hex}"
                )
                try:
                    async with session.put(url, json=body) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.3)


if __name__ == "__main__":
    asyncio.run(main(Twice))
