"""Without its keys the bot goes on as the same device, with other keys. Clients refuse a device whose keys change."""

import asyncio

from good_encrypted import Bot, good

CAUGHT_BY = "key-store-lost"
SAYS = "with other keys; clients refuse a device whose keys change"


class StubbornBot(Bot):
    async def log_in(self):
        await good.Bot.log_in(self)


if __name__ == "__main__":
    asyncio.run(good.main(StubbornBot))
