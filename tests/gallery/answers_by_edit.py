"""Good: sends a placeholder, and edits it until it is the answer, as bots do that show a text while it grows."""

from __future__ import annotations

import asyncio

import nio
from good import Bot, main


class AnswersByEdit(Bot):
    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        first = {"msgtype": "m.text", "body": "thinking…"}
        sent = await self.send(room_id, "m.room.message", first, self.transaction_id(event))
        for number, shown in enumerate((text[:1], text[: len(text) // 2], text)):
            new = {"msgtype": "m.text", "body": shown or "…"}
            relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": sent}}
            edit = {"msgtype": "m.text", "body": f"* {shown}", "m.new_content": new, **relation}
            if sent is not None:
                await self.send(room_id, "m.room.message", edit, f"{self.transaction_id(event)}-{number}")


if __name__ == "__main__":
    asyncio.run(main(AnswersByEdit))
