"""The bot asks for the devices of a person once. A device that comes later never gets its keys."""

import asyncio

from good_encrypted import Bot, good

CAUGHT_BY = "new-device"
SAYS = "which could read none of them"


class OldListBot(Bot):
    async def keep_keys(self):
        known = self.client.olm.users_for_key_query
        known -= {user for user in known if any(self.client.device_store.active_user_devices(user))}
        await super().keep_keys()


if __name__ == "__main__":
    asyncio.run(good.main(OldListBot))
