"""An opsdroid skill in the form of opsdroid's guide: it accepts invites, and echoes."""

from opsdroid.events import JoinRoom, UserInvite
from opsdroid.matchers import match_event, match_regex
from opsdroid.skill import Skill


class EchoSkill(Skill):
    @match_event(UserInvite)
    async def accept(self, invite):
        await invite.respond(JoinRoom())

    @match_regex(r"!echo (?P<text>.*)")
    async def echo(self, message):
        await message.respond(message.entities["text"]["value"])
