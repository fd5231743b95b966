"""On which homeservers a bot and an owner who lives elsewhere meet."""

from __future__ import annotations

from contextlib import AsyncExitStack

from greenroom.homeserver.choose import choose
from greenroom.homeserver.interface import Backend, Capability, RunningHomeserver
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.session import Session


async def homes_apart(
    session: Session, stack: AsyncExitStack, server: RunningHomeserver, settings: HomeserverSettings
) -> tuple[RunningHomeserver, RunningHomeserver]:
    """Return the homeserver of the bot and that of its owner, which federate. `stack` ends what is started for them.

    The bot stays on `server`, which comes to no harm. If that cannot federate, two processes of the same kind stand in
    for it. Raises Unavailable if they cannot be started.
    """
    choice = session.choice
    if not server.can(Capability.FEDERATION):
        choice = choose(choice.kind.name, Backend.PROCESS)
        server = await stack.enter_async_context(session.homeserver(settings, choice=choice))
    elsewhere = session.homeserver(settings, choice=choice, federate_with=[server])
    return server, await stack.enter_async_context(elsewhere)
