"""Good: answers each question in a thread: in the one of the question, or in a new one."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main


class AnswersInThreads(Bot):
    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        asked = event.source["content"].get("m.relates_to", {})
        root = asked["event_id"] if asked.get("rel_type") == "m.thread" else event.event_id
        fallback = {"is_falling_back": True, "m.in_reply_to": {"event_id": event.event_id}}
        content = {"msgtype": "m.notice", "body": text, "m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        content["m.relates_to"] |= fallback
        await self.send(room_id, "m.room.message", content, self.transaction_id(event))


if __name__ == "__main__":
    asyncio.run(main(AnswersInThreads))
