"""A maubot plugin with one command, in the form of maubot's guide."""

from maubot import MessageEvent, Plugin
from maubot.handlers import command


class EchoBot(Plugin):
    @command.new()
    @command.argument("message", pass_raw=True)
    async def echo(self, evt: MessageEvent, message: str) -> None:
        await evt.respond(message)
