"""The good bot of the gallery in encrypted rooms: the same code, with a store of keys beside its state.

Its keys last as long as its session. A lost store means a new session, on a new device.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import nio

sys.path.insert(0, str(Path(__file__).parents[1]))
import good

KEYS = Path(os.environ["MATRIX_STORE_PATH"])


class Bot(good.Bot):
    """The good bot with encryption. A bad bot overrides a method."""

    def __init__(self) -> None:
        super().__init__()
        KEYS.mkdir(parents=True, exist_ok=True)
        config = nio.AsyncClientConfig(encryption_enabled=True, max_timeouts=3, request_timeout=20)
        user = os.environ["MATRIX_USER_ID"]
        self.client = good.Client(os.environ["MATRIX_HOMESERVER"], user, store_path=str(KEYS), config=config)
        self.knows_rooms = False

    async def log_in(self) -> None:
        if not any(KEYS.iterdir()):  # a device without its keys can read nothing
            self.state.pop("session", None)
        await super().log_in()

    async def sync(self) -> nio.Response | Exception:
        """Sync; the first time with all rooms, since nio forgets their members when it ends."""
        self.client.next_batch = ""
        try:
            answer = await self.client.sync(self.wait_ms, since=self.state["since"], full_state=not self.knows_rooms)
            if isinstance(answer, nio.SyncResponse):
                self.knows_rooms = True
                await self.keep_keys()
            return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            return error

    async def keep_keys(self) -> None:
        if self.client.should_upload_keys:
            await self.client.keys_upload()
        if self.client.should_query_keys:
            await self.client.keys_query()
        if self.client.should_claim_keys:
            await self.client.keys_claim(self.client.get_users_for_key_claiming())
        await self.client.send_to_device_messages()

    async def put(self, room_id: str, kind: str, content: dict, tx_id: str) -> nio.Response:
        return await self.client.room_send(room_id, kind, content, tx_id=tx_id, ignore_unverified_devices=True)


if __name__ == "__main__":
    asyncio.run(good.main(Bot))
