"""Good: answers only messages that mention it (`m.mentions`), as a bot in a room of many people should."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main


class AnswersMentions(Bot):
    async def said(self, room_id: str, event: nio.RoomMessageText) -> None:
        mentioned = event.source["content"].get("m.mentions", {}).get("user_ids", [])
        if self.client.user_id in mentioned:
            event.body = event.body[max(0, event.body.find("!echo ")) :]  # without the name in front
            await super().said(room_id, event)


if __name__ == "__main__":
    asyncio.run(main(AnswersMentions))
