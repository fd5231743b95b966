"""A webhook bot: it says in one room what `POST /alert` brings, and answers 200 once the homeserver has that."""

import asyncio
import os

from aiohttp import ClientError, web
from nio import AsyncClient, AsyncClientConfig, RoomSendResponse


async def main() -> None:
    config = AsyncClientConfig(max_timeouts=5)
    client = AsyncClient(os.environ["MATRIX_HOMESERVER"], os.environ["MATRIX_USER_ID"], config=config)
    await client.login(os.environ["MATRIX_PASSWORD"])
    await client.join(os.environ["ALERT_ROOM"])

    async def alert(request: web.Request) -> web.Response:
        content = {"msgtype": "m.text", "body": await request.text()}
        try:
            answer = await client.room_send(os.environ["ALERT_ROOM"], "m.room.message", content)
        except (ClientError, TimeoutError):
            return web.Response(status=503)
        return web.Response(status=200 if isinstance(answer, RoomSendResponse) else 502)

    app = web.Application()
    app.router.add_post("/alert", alert)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["ALERT_PORT"])).start()
    print("listening")
    await asyncio.Event().wait()


asyncio.run(main())
