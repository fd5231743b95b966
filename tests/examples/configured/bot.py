"""A bot that reads its account and its prefix from a YAML file."""

import asyncio
import sys
from pathlib import Path

import yaml
from nio import AsyncClient, InviteMemberEvent, MatrixRoom, RoomMessageText


async def main(config: dict[str, str]) -> None:
    client = AsyncClient(config["homeserver"], config["user_id"])

    async def on_invite(room: MatrixRoom, event: InviteMemberEvent) -> None:
        if event.state_key == client.user_id:
            await client.join(room.room_id)

    async def on_message(room: MatrixRoom, event: RoomMessageText) -> None:
        if event.body.startswith(config["prefix"]):
            said = event.body.removeprefix(config["prefix"])
            await client.room_send(room.room_id, "m.room.message", {"msgtype": "m.notice", "body": f"You said {said}"})

    client.add_event_callback(on_invite, InviteMemberEvent)
    client.add_event_callback(on_message, RoomMessageText)
    await client.login(config["password"])
    await client.sync_forever(timeout=30000)


asyncio.run(main(yaml.safe_load(Path(sys.argv[1]).read_text())))
