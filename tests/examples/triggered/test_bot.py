from aiohttp import ClientSession
from nio import RoomPreset

from greenroom import must
from greenroom.bot_ready import log_line


async def test_an_alert_is_said(person, bot):
    alice = await person("alice")
    room = await alice.create_room(preset=RoomPreset.public_chat)
    env = {"ALERT_ROOM": room, "ALERT_PORT": "${PORT}"}
    alerts = await bot("python bot.py", env=env, ready=log_line("listening"))

    async with ClientSession() as session:
        await session.post(f"http://127.0.0.1:{alerts.env['ALERT_PORT']}/alert", data="the disk is full")

    await must.say(alice, alerts, room, "the disk is full")
