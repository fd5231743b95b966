"""The echo command of nio-bot's README, with its account taken from the environment."""

import os

import niobot

client = niobot.NioBot(
    homeserver=os.environ["MATRIX_HOMESERVER"],
    user_id=os.environ["MATRIX_USER_ID"],
    device_id=os.environ["BOT_DEVICE"],
    command_prefix="!",
    owner_id=os.environ["OWNER"],
)


@client.command()
async def echo(ctx: niobot.Context, *, message: str):
    await ctx.respond("You said: " + message)


client.run(access_token=os.environ["BOT_TOKEN"])
