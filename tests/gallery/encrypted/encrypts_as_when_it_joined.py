"""The bot remembers from its join whether a room is encrypted, and does not hear of a switch."""

import asyncio

from answers_in_plain_text import PlainTextBot
from good_encrypted import Bot, good

CAUGHT_BY = "encryption-switched-on"
SAYS = "in plain text in an encrypted room"


class OldStateBot(PlainTextBot):
    def __init__(self):
        super().__init__()
        self.encrypted = {}

    async def put(self, room_id, *message):
        encrypted = self.encrypted.setdefault(room_id, self.client.rooms[room_id].encrypted)
        return await (Bot if encrypted else PlainTextBot).put(self, room_id, *message)


if __name__ == "__main__":
    asyncio.run(good.main(OldStateBot))
