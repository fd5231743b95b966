"""Homeservers with the rooms of the blueprint `large`: chats of alice, as the reference bot makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from greenroom.homeserver import HomeserverSettings, RunningHomeserver
from greenroom.people.accounts import Account, log_in
from greenroom.people.matrix_api import MatrixApi
from greenroom.seed.load import load_blueprint
from greenroom.session import Session

BLUEPRINT = "large"


@asynccontextmanager
async def homeserver_with(session: Session, rooms: int) -> AsyncIterator[tuple[RunningHomeserver, Account]]:
    """Run a homeserver on which the bot is in that many chats; yield it, and the bot's account, logged in.

    It comes from a snapshot if there is one. A thousand rooms take minutes the first time.
    """
    blueprint = load_blueprint(BLUEPRINT, {"rooms": rooms})
    async with session.homeserver(HomeserverSettings(), blueprint=blueprint) as server:
        async with MatrixApi(server.url) as api:
            bot = await log_in(api, server.seeded.account("bot"))
        yield server, bot
