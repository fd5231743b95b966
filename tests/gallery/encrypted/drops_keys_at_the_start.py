"""The bot looks at its start whether the homeserver is there, with syncs of its own. They take the keys that waited."""

import asyncio
import json

from good_encrypted import Bot, good

CAUGHT_BY = "encrypted-while-down"
SAYS = "could not decrypt a message"
SAVED_BY = "picture-from-a-cache"


class CuriousBot(Bot):
    async def log_in(self):
        await super().log_in()
        since = ""
        for _ in range(2):  # the second says that all from the first has arrived
            token = f"access_token={self.client.access_token}"
            answer = await self.client.send("GET", f"/_matrix/client/v3/sync?timeout=0&{token}{since}")
            since = f"&since={json.loads(await answer.read())['next_batch']}"


if __name__ == "__main__":
    asyncio.run(good.main(CuriousBot))
