"""The good bot of the gallery as a reminder bot: `!in SECONDS TEXT` makes it say the text after so many seconds.

It stores a reminder before it confirms it, and drops it only when the homeserver has the message.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path

import nio

sys.path.insert(0, str(Path(__file__).parents[1]))
import good


class Bot(good.Bot):
    """The good reminder bot. A bad bot overrides a method."""

    def __init__(self) -> None:
        super().__init__()
        self.state.setdefault("reminders", [])

    async def run(self) -> None:
        await self.log_in()
        reminding = asyncio.ensure_future(self.remind())
        try:
            await super().run()
        finally:
            reminding.cancel()
            with suppress(asyncio.CancelledError):
                await reminding

    async def said(self, room_id: str, event: nio.RoomMessageText) -> None:
        if event.event_id in self.state["handled"] or not event.body.startswith("!in "):
            return
        _, seconds, text = event.body.split(" ", 2)
        due = event.server_timestamp / 1000 + float(seconds)
        reminder = {"due": due, "room": room_id, "text": f"reminder: {text}", "id": self.transaction_id(event)}
        self.state["reminders"].append(reminder)
        self.state["handled"] = [*self.state["handled"][-200:], event.event_id]
        self.save()
        await self.tell({**reminder, "text": "noted", "id": f"{reminder['id']}-noted"})

    async def remind(self) -> None:
        while True:
            for reminder in [one for one in self.state["reminders"] if one["due"] <= time.time()]:
                await self.tell(reminder)
                self.state["reminders"].remove(reminder)
                self.save()
            await asyncio.sleep(0.05)

    async def tell(self, reminder: dict) -> None:
        content = {"msgtype": "m.notice", "body": reminder["text"]}
        await self.send(reminder["room"], "m.room.message", content, reminder["id"])


if __name__ == "__main__":
    asyncio.run(good.main(Bot))
