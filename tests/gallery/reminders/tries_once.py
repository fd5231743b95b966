"""Tries once to say what is due, and forgets it if the homeserver is away."""

from __future__ import annotations

import asyncio

import aiohttp
from good_reminder import Bot, good

CAUGHT_BY = "due-while-server-away"
SAYS = "was never answered, though a later question was"


class TriesOnce(Bot):
    async def send(self, room_id: str, kind: str, content: dict, tx_id: str) -> str | None:
        url = f"{self.client.homeserver}/_matrix/client/v3/rooms/{room_id}/send/{kind}/{tx_id}"
        headers = {"Authorization": f"Bearer {self.client.access_token}"}
        try:
            async with aiohttp.ClientSession(headers=headers) as session, session.put(url, json=content) as answer:
                return (await answer.json())["event_id"]
        except aiohttp.ClientError as error:
            print(f"forgets {tx_id}: {error!r}")
            return None


if __name__ == "__main__":
    asyncio.run(good.main(TriesOnce))
