"""Good: answers with a reaction. The key of a reaction can be any text, so the answer to `!echo 👍` is 👍."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main


class AnswersByReaction(Bot):
    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event.event_id, "key": text}}
        await self.send(room_id, "m.reaction", content, self.transaction_id(event))


if __name__ == "__main__":
    asyncio.run(main(AnswersByReaction))
