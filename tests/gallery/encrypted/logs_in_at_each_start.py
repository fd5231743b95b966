"""The bot logs in at each start: a new device without the keys of the last one."""

import asyncio

from good_encrypted import Bot, good

CAUGHT_BY = "keys-after-restart"
SAYS = "the bot came back as a new device"


class ForgetfulBot(Bot):
    async def log_in(self):
        self.state.pop("session", None)
        await super().log_in()


if __name__ == "__main__":
    asyncio.run(good.main(ForgetfulBot))
