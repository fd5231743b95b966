"""A bot that takes an access token and never logs in. It answers in the rooms of its owner only."""

import asyncio
import os

from nio import AsyncClient, InviteMemberEvent, MatrixRoom, RoomMessageText

OWNER = os.environ["BOT_OWNER"]


async def main() -> None:
    client = AsyncClient(os.environ["BOT_SERVER"])
    client.restore_login(os.environ["BOT_ID"], os.environ["BOT_DEVICE"], os.environ["BOT_TOKEN"])

    async def on_invite(room: MatrixRoom, event: InviteMemberEvent) -> None:
        if event.state_key == client.user_id and event.sender == OWNER:
            await client.join(room.room_id)

    async def on_message(room: MatrixRoom, event: RoomMessageText) -> None:
        if event.body == "!ping":
            await client.room_send(room.room_id, "m.room.message", {"msgtype": "m.notice", "body": "pong"})

    client.add_event_callback(on_invite, InviteMemberEvent)
    client.add_event_callback(on_message, RoomMessageText)
    await client.sync_forever(timeout=30000)


asyncio.run(main())
