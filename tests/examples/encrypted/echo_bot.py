"""An echo bot for encrypted rooms. It keeps its session beside its keys, so it stays the same device."""

import asyncio
import json
import os
from pathlib import Path

from nio import AsyncClient, AsyncClientConfig, InviteMemberEvent, MatrixRoom, RoomMessageText

STORE = Path(os.environ["MATRIX_STORE_PATH"])
SESSION = STORE / "session.json"


async def main() -> None:
    STORE.mkdir(parents=True, exist_ok=True)
    config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
    homeserver, user_id = os.environ["MATRIX_HOMESERVER"], os.environ["MATRIX_USER_ID"]
    client = AsyncClient(homeserver, user_id, store_path=str(STORE), config=config)

    async def on_invite(room: MatrixRoom, event: InviteMemberEvent) -> None:
        if event.state_key == client.user_id:
            await client.join(room.room_id)

    async def on_message(room: MatrixRoom, event: RoomMessageText) -> None:
        if event.sender != client.user_id:
            content = {"msgtype": "m.notice", "body": event.body}
            await client.room_send(room.room_id, "m.room.message", content, ignore_unverified_devices=True)

    client.add_event_callback(on_invite, InviteMemberEvent)
    client.add_event_callback(on_message, RoomMessageText)
    if SESSION.exists():
        client.restore_login(**json.loads(SESSION.read_text()))
    else:
        await client.login(os.environ["MATRIX_PASSWORD"])
        session = {"user_id": client.user_id, "device_id": client.device_id, "access_token": client.access_token}
        SESSION.write_text(json.dumps(session))
    await client.sync_forever(timeout=30000, full_state=True)


asyncio.run(main())
