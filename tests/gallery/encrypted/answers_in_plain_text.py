"""The bot sends its answers over the plain API, so everybody on the way can read them."""

import asyncio

import nio
from good_encrypted import Bot, good

CAUGHT_BY = "answers"
SAYS = "in plain text in an encrypted room"


class PlainTextBot(Bot):
    async def put(self, room_id, kind, content, tx_id):
        request = nio.Api.room_send(self.client.access_token, room_id, kind, content, tx_id)
        return await self.client._send(nio.RoomSendResponse, *request, (room_id,))


if __name__ == "__main__":
    asyncio.run(good.main(PlainTextBot))
